"""Toy backbones and one config of every tuning method for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

import vitadapter_dense  # noqa: F401  (registers)

SIZE = (64, 96)

VIT = dict(
    type='TimmViT',
    model_name='vit_tiny_patch16_224',
    img_size=64,
    embed_dim=32,
    depth=4,
    num_heads=2,
    drop_path_rate=0.1,
)
BACKBONES: dict[str, dict[str, Any]] = dict(
    resnet=dict(type='mmdet.ResNet', depth=50, base_channels=4, stem_channels=8, norm_eval=False),
    swin=dict(
        type='mmdet.SwinTransformer',
        embed_dims=16,
        depths=(2, 2, 1, 1),
        num_heads=(2, 2, 4, 4),
        window_size=4,
    ),
    # layer scale at its usual 1e-6 would leave steps of a float too small to see
    convnext=dict(
        type='TimmStages',
        model_name='convnext_atto',
        depths=(1, 1, 2, 1),
        dims=(8, 16, 32, 64),
        ls_init_value=1.0,
    ),
    vit=dict(
        type='PlainViT',
        encoder=dict(VIT, keep_prefix_tokens=True, window_sizes=[2, None, 2, None]),
        out_indices=[1, 3],
    ),
    vitadapter=dict(type='ViTAdapter', encoder=VIT, conv_inplane=4, deform_num_heads=2),
    timm_swin=dict(
        type='TimmStages',
        model_name='swin_tiny_patch4_window7_224',
        img_size=64,
        dynamic_img_size=True,
        window_size=4,
        embed_dim=16,
        depths=(2, 2, 1, 1),
        num_heads=(2, 2, 4, 4),
    ),
    # norms that start at zero would hide the gradients of what is before them
    regnet=dict(
        type='TimmStages',
        model_name='regnetx_002',
        depth=8,
        w0=16,
        wa=16.0,
        wm=2.0,
        zero_init_last=False,
    ),
    mmseg_swin=dict(
        type='mmseg.SwinTransformer',
        embed_dims=16,
        depths=(2, 2, 1, 1),
        num_heads=(2, 2, 4, 4),
        window_size=4,
    ),
)
TRANSFORMERS = {'swin', 'vit', 'vitadapter', 'timm_swin', 'mmseg_swin'}

METHODS: dict[str, Any] = dict(
    full=dict(type='FullTuning'),
    head_only=dict(type='HeadOnly'),
    partial=dict(type='PartialTuning', num_blocks=2),
    bias=dict(type='BiasTuning'),
    norm=dict(type='NormTuning'),
    pro=dict(type='ProTuning'),
    pro_channel=dict(type='ProTuning', blend='channel', norm=None, act='GELU', se_reduction=None),
    side=dict(type='SideTuning', width=8),
    adapter=dict(type='Adapter', hidden=4),
    lora=dict(type='LoRA', rank=2, alpha=4),
    ssf=dict(type='SSF'),
    mlp_head=dict(type='MLPHead', num_layers=1),
    adaptformer=dict(type='AdaptFormer', hidden=4),
    mona=dict(type='Mona', hidden=4),
    convpass=dict(type='Convpass', hidden=4),
    vpt=dict(type='VisualPromptTuning', num_tokens=3, dropout=0.1),
    vpt_deep=dict(type='VisualPromptTuning', num_tokens=3, deep=True, project=8),
    vpt_add=dict(type='VisualPromptTuning', location='add', deep=True),
    vpt_pixel=dict(type='VisualPromptTuning', location='prepend_pixel', num_tokens=2),
    vpt_channel=dict(type='VisualPromptTuning', location='below', num_tokens=2),
    vpt_bias=[dict(type='Convpass'), dict(type='VisualPromptTuning'), dict(type='BiasTuning')],
    vpt_pad=dict(type='VisualPromptTuning', location='pad', num_tokens=5),
    pool=dict(type='PromptPool', size=5, length=2, top_k=2, query='mean', slots_per_task=2),
    pool_pixels=dict(type='PromptPool', size=3, top_k=1, query='max', image_size=16),
    vae=dict(type='VAEPromptGenerator', length=3, width=4, latent=4, lwf_weight=1.0),
    pooled=dict(
        type='PooledPromptGenerator',
        pool=dict(size=3, length=1, top_k=1, query='mean', batchwise=True),
        generator=dict(type='ClsPromptGenerator', length=2, query='mean', width=8, latent=4),
    ),
)
# what they make depends on the images through a pass without gradients
INPUT_PROMPTS = {'pool', 'pool_pixels', 'vae', 'pooled'}
CONVOLUTIONAL = {'resnet', 'convnext', 'regnet'}
# methods that work on these backbones alone
ALONE_ON = dict(
    vpt_pad=CONVOLUTIONAL | {'timm_swin', 'mmseg_swin'},
    vpt_channel=TRANSFORMERS | CONVOLUTIONAL,
    # MMSegmentation's Swin is MMDetection's
    **dict.fromkeys(INPUT_PROMPTS, TRANSFORMERS - {'mmseg_swin'}),
)
IN_BLOCKS = {'adaptformer', 'mona', 'convpass', *(name for name in METHODS if 'vpt' in name)}
IN_BLOCKS |= INPUT_PROMPTS
IN_BLOCKS -= {'vpt_pad'}


def build(backbone: str, tuning: Any = None, **options: Any) -> nn.Module:
    """A toy backbone, tuned or not, always with the same pre-trained weights."""
    import mmdet.models  # noqa: F401  (registers)
    import mmseg.models  # noqa: F401

    torch.manual_seed(0)
    cfg = dict(BACKBONES[backbone])
    if 'with_cp' in options and 'encoder' in cfg:
        cfg['encoder'] = dict(cfg['encoder'], **options)
    elif 'with_cp' in options and cfg['type'] == 'TimmStages':
        cfg.pop('with_cp', None)
    else:
        cfg.update(options)
    if tuning is None:
        model = MODELS.build(cfg)
    elif cfg['type'] == 'ViTAdapter':
        model = MODELS.build(dict(cfg, tuning=tuning))
    else:
        model = MODELS.build(dict(type='TunedBackbone', backbone=cfg, tuning=tuning))
    if 'with_cp' in options and cfg['type'] == 'TimmStages':
        model.model.set_grad_checkpointing(options['with_cp'])
    with torch.no_grad():  # the injectors' zero start would hide the adapter's gradients
        for name, parameter in model.named_parameters():
            if 'injector.gamma' in name:
                parameter.fill_(0.1)
    return model


def pairs(*, transformers_only: set[str] = IN_BLOCKS) -> list[tuple[str, str]]:
    """Every method with every backbone on which it works."""
    return [
        (method, backbone)
        for method in METHODS
        for backbone in BACKBONES
        if backbone in ALONE_ON.get(method, BACKBONES)
        and (method not in transformers_only - {*ALONE_ON} or backbone in TRANSFORMERS)
    ]


def images(count: int = 2) -> torch.Tensor:
    """Random images, the same in each call."""
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def loss_of(model: nn.Module, seed: int = 0) -> torch.Tensor:
    """A scalar in which every output counts, other weights each, with a method's own losses."""
    torch.manual_seed(seed)
    maps = model(images())
    loss = sum((m.float() * torch.randn(m.shape)).mean() for m in maps)
    tuning = getattr(model, 'tuning', None)
    return loss if tuning is None else sum(tuning.losses().values(), loss)


def train_steps(model: nn.Module, steps: int = 2, lr: float = 0.5) -> None:
    """A few steps of plain gradient descent on what trains."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        return
    optimizer = torch.optim.SGD(parameters, lr=lr)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, seed=step).backward()
        optimizer.step()


@torch.no_grad()
def disturbed_pass(model: nn.Module, every: int = 31) -> list[Tensor]:
    """What the model gives for :func:`images`, with passes of other images in the midst of it.

    Two threads can do the same to each other at any point; here it is done at every 31st call of a
    module, so that what a pass leaves on a module is no longer met by chance. Nothing is to be set
    on a module, either.
    """
    others, calls, inside = torch.randn(1, 3, *reversed(SIZE)), 0, False

    def disturb(_module: nn.Module, _args: tuple) -> None:
        nonlocal calls, inside
        calls += not inside
        if not inside and calls % every == 0:
            inside = True
            model(others)
            inside = False

    def refuse(module: nn.Module, name: str, _value: Any) -> None:
        raise AssertionError(f'a pass sets {name!r} on {type(module).__name__}')

    handles = [module.register_forward_pre_hook(disturb) for module in model.modules()]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn.Module, '__setattr__', refuse)
            return list(model(images()))
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def layer_calls() -> Iterator[list[int]]:
    """Collects the ``id`` of every linear layer and convolution that is called."""
    called: list[int] = []

    def counting(forward: Any) -> Any:
        def count(module: nn.Module, x: Tensor) -> Tensor:
            called.append(id(module))
            return forward(module, x)

        return count

    with pytest.MonkeyPatch.context() as patch:
        for kind in (nn.Conv2d, nn.Linear):
            patch.setattr(kind, 'forward', counting(kind.forward))
        yield called
