"""Random configurations of small backbones and tuning methods, by a seed.

:mod:`vitadapter_dense.training.backbone_check` puts them to the test.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

# By family: timm's name, and which of the common options it has.
FAMILIES: dict[str, dict[str, Any]] = {
    'vit_tiny_patch16_224': dict(reg_tokens=True, init_values=True),
    'vit_base_patch16_clip_224': dict(),  # norm before the blocks
    'beit_base_patch16_224': dict(init_values=True),
    'eva02_small_patch14_224': dict(heads=True),
    'vit_small_patch16_dinov3': dict(heads=True),
    'vit_base_patch14_dinov2': dict(init_values=True),
}
# Config, strides of the maps, whether it has transformer blocks, whether a part runs without
# gradients.
Kind = tuple[dict[str, Any], tuple[float, ...], bool, bool]
TRANSFORMER_METHODS = ('AdaptFormer', 'Mona', 'Convpass', 'VisualPromptTuning')


@dataclass(frozen=True)
class Draw:
    """One run.

    Attributes:
        config: of the backbone.
        hw: size of the images.
        batch: their number.
        training: the mode.
        strides: of the maps.
        apart: a part of the model runs without gradients.
        idle: names, as a regular expression, of parameters that have no effect by design.
    """

    config: dict[str, Any]
    hw: tuple[int, int]
    batch: int
    training: bool
    strides: tuple[float, ...]
    apart: bool
    idle: str


def draw(seed: int) -> Draw:
    """The run of a seed."""
    rng = random.Random(seed)
    kinds = 3 * [_adapter] + [_lite_adapter, _plain, _pyramid, _prior_pyramid, _timm_stages]
    if all(find_spec(name) for name in ('mmcv', 'mmdet', 'mmseg')):
        kinds += [_toolbox]
    kind = rng.choice(kinds)
    config, strides, transformer, apart = kind(rng)
    # untuned, a toolbox's recomputes in PyTorch's old way, which cannot .grad
    toolbox = '.' in config['type']
    of_pixels = kind in (_timm_stages, _toolbox)
    tuning = None if apart or rng.random() < 0.15 else _tuning(rng, transformer, of_pixels)
    if tuning is None:
        config = {key: value for key, value in config.items() if key != 'with_cp' or not toolbox}
    else:
        if config['type'] in ('ViTAdapter', 'LiteAdapter'):
            config = dict(config, tuning=tuning)
        else:
            config = dict(type='TunedBackbone', backbone=config, tuning=tuning)
    hw, batch = (rng.randint(17, 130), rng.randint(17, 130)), rng.randint(1, 3)
    # A batch norm in training mode makes little more than signs of two or three values a channel,
    # and derivatives that no finite difference follows.
    cells = batch * math.ceil(hw[0] / max(strides)) * math.ceil(hw[1] / max(strides))
    training = cells >= 8 and rng.random() < 0.5
    return Draw(config, hw, batch, training, strides, apart, _idle(config))


def _idle(config: dict[str, Any]) -> str:
    if config.get('attention', 'deformable') != 'deformable':
        return r'key_proj\.bias'  # it adds the same to the logits of all keys
    if config['type'] == 'ViTAdapter' and config['n_points'] == 1:
        return 'extractor.*attention_weights'  # the only point of the only level has all the weight
    return '(?!)'


def _encoder(rng: random.Random, *, multiple: int = 1) -> tuple[dict[str, Any], int]:
    """An encoder and its patch size."""
    name = rng.choice(list(FAMILIES))
    known = FAMILIES[name]
    heads = rng.choice([1, 2, 3])
    width = heads * rng.choice([8, 12, 16]) * multiple
    depth = rng.randint(1, 5)
    patch = rng.choice([14, 16]) if name.startswith('vit') else int(name.split('patch')[1][:2])
    encoder = dict(
        type='TimmViT',
        model_name=name,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        patch_size=patch,
        img_size=patch * rng.randint(2, 5),
        keep_prefix_tokens=rng.random() < 0.4,
        with_cp=rng.random() < 0.25,
    )
    if rng.random() < 0.6:
        encoder['window_sizes'] = [rng.choice([None, 2, 3, 5]) for _ in range(depth)]
        encoder['window_pad'] = rng.choice(['qkv', 'input'])
    if known.get('reg_tokens') and rng.random() < 0.3:
        encoder['reg_tokens'] = rng.randint(1, 4)
    if known.get('init_values'):
        encoder['init_values'] = rng.choice([None, 1.0])
    return encoder, patch


def _spans(rng: random.Random, depth: int) -> list[list[int]]:
    edges = sorted(rng.sample(range(1, depth), rng.randint(0, min(3, depth - 1))))
    return [[a, b - 1] for a, b in zip([0, *edges], [*edges, depth])]


def _adapter(rng: random.Random) -> Kind:
    encoder, patch = _encoder(rng)
    spans, heads = _spans(rng, encoder['depth']), encoder['num_heads']
    attention = rng.choice(['deformable', 'deformable', 'global', *(['cswin'] * (patch == 16))])
    injector = rng.random() < 0.8
    apart = not injector and rng.random() < 0.5
    config = dict(
        type='ViTAdapter',
        encoder=dict(encoder, frozen=apart),
        interaction_indexes=spans,
        conv_inplane=rng.choice([4, 6]),
        attention=attention,
        n_points=rng.randint(1, 4),
        deform_num_heads=2 * heads if attention == 'cswin' else rng.choice([heads, 2 * heads]),
        deform_ratio=rng.choice([0.5, 1.0]),
        with_cffn=rng.random() < 0.8,
        cffn_ratio=rng.choice([0.25, 0.5]),
        use_extra_extractor=rng.random() < 0.5,
        vit_feature=rng.choice(['last', None, *(['per_stage'] if len(spans) == 4 else [])]),
        injector=injector,
        norm_cfg=rng.choice([None, dict(type='BN'), dict(type='GN', num_groups=2)]),
        with_cp=rng.random() < 0.25,
    )
    return config, (4, 8, 16, 32), True, apart


def _lite_adapter(rng: random.Random) -> Kind:
    encoder, _ = _encoder(rng)
    depth = encoder['depth'] = rng.randint(3, 5)
    if 'window_sizes' in encoder:
        encoder['window_sizes'] = [rng.choice([None, 2, 3, 5]) for _ in range(depth)]
    config = dict(
        type='LiteAdapter',
        encoder=encoder,
        out_indices=rng.choice([None, sorted(rng.sample(range(depth), 3))]),
        conv_inplane=rng.choice([4, 6]),
        out_channels=rng.choice([None, 10]),
        norm_cfg=rng.choice([None, dict(type='BN'), dict(type='GN', num_groups=2)]),
    )
    return config, (4, 8, 16, 32), True, False


def _plain(rng: random.Random) -> Kind:
    encoder, patch = _encoder(rng)
    count = rng.randint(1, encoder['depth'])
    indices = sorted(rng.sample(range(encoder['depth']), count))
    return (
        dict(type='PlainViT', encoder=encoder, out_indices=indices),
        (patch,) * count,
        True,
        False,
    )


def _pyramid(rng: random.Random) -> Kind:
    style = rng.choice(['original', 'vitdet'])
    encoder, patch = _encoder(rng, multiple=8 if style == 'original' else 1)
    depth = encoder['depth']
    config = dict(type='SimplePyramid', encoder=encoder, style=style)
    if style == 'vitdet':
        config['out_channels'] = rng.choice([4, 9])
    elif depth < 4 or rng.random() < 0.5:
        config['out_indices'] = [rng.randrange(depth)]
    return config, tuple(patch * 2**level / 4 for level in range(4)), True, False


def _prior_pyramid(rng: random.Random) -> Kind:
    encoder, patch = _encoder(rng, multiple=8)
    depth, heads = encoder['depth'], encoder['num_heads']
    config = dict(
        type='PriorPyramid',
        encoder=encoder,
        injection=rng.choice(['add', 'attention']),
        conv_inplane=rng.choice([4, 6]),
        n_points=rng.randint(1, 4),
        deform_num_heads=rng.choice([heads, 2 * heads]),
        deform_ratio=rng.choice([0.5, 1.0]),
    )
    if depth < 4 or rng.random() < 0.5:
        config['out_indices'] = [rng.randrange(depth)]
    return config, tuple(patch * 2**level / 4 for level in range(4)), True, False


def _timm_stages(rng: random.Random) -> Kind:
    swin = dict(img_size=64, window_size=4, embed_dim=16, num_heads=(2, 2, 4, 4))
    model = rng.choice(
        [
            dict(model_name='convnext_atto', depths=(1, 1, 2, 1), dims=(8, 16, 32, 64)),
            dict(model_name='regnetx_002', depth=8, w0=16, wa=16.0, wm=2.0),
            dict(model_name='resnet26', layers=(1, 1, 1, 1), channels=(8, 8, 16, 16)),
            dict(model_name='swin_tiny_patch4_window7_224', depths=(2, 2, 1, 1), **swin),
        ]
    )
    strides = tuple(sorted(rng.sample([4, 8, 16, 32], rng.randint(1, 4))))
    config = dict(type='TimmStages', strides=strides, **model)
    return config, strides, 'swin' in model['model_name'], False


def _toolbox(rng: random.Random) -> Kind:
    import mmseg.models  # noqa: F401  (registers)

    with_cp, scope = rng.random() < 0.25, rng.choice(['mmdet', 'mmseg'])
    if rng.random() < 0.5:
        config = dict(type='ResNet', depth=50, base_channels=4, stem_channels=8, norm_eval=False)
    else:
        config = dict(type='SwinTransformer', embed_dims=16, depths=(2, 2, 1, 1), window_size=4)
        config['num_heads'] = (2, 2, 4, 4)
    swin = config['type'] == 'SwinTransformer'
    if not swin and scope == 'mmseg':
        config.update(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
    config = dict(config, type=f'{scope}.{config["type"]}', with_cp=with_cp)
    return config, (4, 8, 16, 32), swin, False


def _tuning(rng: random.Random, transformer: bool, of_pixels: bool) -> Any:
    small = dict(hidden=rng.choice([2, 4]))
    methods = [
        dict(type='FullTuning'),
        dict(type='HeadOnly'),
        dict(type='PartialTuning'),
        dict(type='BiasTuning'),
        dict(type='NormTuning'),
        dict(
            type='ProTuning',
            groups=rng.choice([1, 2]),
            blend=rng.choice(['add', 'scalar', 'channel']),
            norm=rng.choice(['BN', 'GN', None]),
            act=rng.choice(['ReLU', 'GELU', None]),
            se_reduction=rng.choice([None, 2]),
            kernel_size=rng.choice([3, 5]),
        ),
        dict(type='SideTuning', width=4),
        dict(type='Adapter', **small),
        dict(type='LoRA', rank=2),
        dict(type='SSF'),
        dict(type='MLPHead', num_layers=rng.randint(1, 2)),
    ]
    if transformer:
        methods += [dict(type=kind, **small) for kind in TRANSFORMER_METHODS[:3]]
        methods += 2 * [_prompts(rng)]
    if of_pixels:
        locations = ['pad'] if transformer else ['pad', 'below']
        methods += [_pixels(rng, location) for location in locations]
    chosen = rng.choice(methods)
    together = [m for m in methods[2:] if m['type'] != chosen['type']]
    if chosen['type'] in ('FullTuning', 'HeadOnly') or rng.random() < 0.8:
        return chosen
    return [chosen, rng.choice(together)]


def _pixels(rng: random.Random, location: str) -> dict[str, Any]:
    return dict(type='VisualPromptTuning', location=location, num_tokens=rng.randint(1, 40))


def _prompts(rng: random.Random) -> dict[str, Any]:
    location = rng.choice(['prepend', 'prepend', 'add', 'prepend_pixel', 'below'])
    prompts = dict(type='VisualPromptTuning', num_tokens=rng.randint(1, 4), location=location)
    if location in ('prepend', 'add'):
        prompts['deep'] = rng.random() < 0.5
    if location == 'prepend' and rng.random() < 0.5:
        prompts['project'] = 8
    return prompts
