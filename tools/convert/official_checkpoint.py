"""Converts the original's checkpoints, and encoder weights in their authors' formats, to our names.

    python tools/convert/official_checkpoint.py mask_rcnn_deit_adapter_small.pth.tar ours.pth \\
        --config configs/coco/mask_rcnn_vitadapter_s.py
    python tools/convert/official_checkpoint.py L_16-i21k-300ep.npz augreg_l.safetensors \\
        --encoder vit_large_patch16_224
    python tools/convert/official_checkpoint.py dinov2_vits14_pretrain.pth dinov2_s16.pth \\
        --encoder vit_small_patch14_dinov2 --patch-size 16

A whole detector, segmentor or backbone of the original ViT-Adapter comes out for `load_from` and
`tools/test.py`, an encoder (Google's .npz, MAE, DINOv2, BEiT, ...) for `encoder.pretrained`. With
`--config` the weights are also compared with that model and brought to its sizes. Every key is
reported. Nothing in the file is run: only tensors and plain containers are read.

(`load_from` and `encoder.pretrained` convert in the same way; the tool writes the result down.)
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor, nn

from vitadapter_dense.backbones.official_names import backbone_name, head_name
from vitadapter_dense.checkpoints.checked_loading import (
    WeightsError,
    check_fit,
    converted_for,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.command_line.arguments import config_parser, errors_as_message, read_config
from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.encoders.foreign_weights import (
    Format,
    format_of,
    resample_patches,
    without_momentum,
)
from vitadapter_dense.encoders.hub import check_model_name, in_timm_names
from vitadapter_dense.inference.predictor import build_model_on_meta
from vitadapter_dense.reports.output_files import check_outputs, write_output

COMMAND = 'official_checkpoint'
_PATCHES = 'patch_embed.proj.weight'
MODELS = ('adapter', 'baseline')  # of the original code; all other formats are encoders


def convert_model(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of an original detector, segmentor or backbone -> ours, without derived indices."""
    whole = any(name.startswith('backbone.') for name in state_dict)
    prefix = 'backbone.' if whole else ''
    ours = {}
    for name, tensor in state_dict.items():
        if name.endswith('relative_position_index'):
            continue
        in_backbone = name.startswith(prefix)
        renamed = (
            prefix + backbone_name(name.removeprefix(prefix)) if in_backbone else head_name(name)
        )
        ours[renamed] = tensor
    return ours


def sizes_of(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    """Patch and image size that an encoder's weights are made for, as far as they tell."""
    patches, positions = state_dict.get(_PATCHES), state_dict.get('pos_embed')
    if patches is None or patches.ndim != 4:
        return {}
    sizes = dict(patch_size=patches.shape[-1])
    if positions is not None and positions.ndim == 3:
        side = round((positions.shape[1] - positions.shape[1] % 2) ** 0.5)
        sizes['img_size'] = side * patches.shape[-1]
    return sizes


def convert_encoder(
    state_dict: Mapping[str, Tensor], model_name: str, source: str, patch_size: int | None
) -> dict[str, Tensor]:
    """Weights of an encoder in its authors' names -> timm's names, as `encoder.pretrained` reads.

    Args:
        state_dict: of the file.
        model_name: timm's name of the encoder.
        source: the file, for messages.
        patch_size: resample the patch embedding to it, as ViT-Adapter did for DINOv2.
    """
    ours_size = sizes_of(state_dict)
    ours_size.pop('patch_size', None)  # positions stay as they are, patches become timm's
    ours = in_timm_names(model_name, state_dict, source, ours_size)
    if patch_size is not None and _PATCHES in ours and ours[_PATCHES].shape[-1] != patch_size:
        ours[_PATCHES] = resample_patches(ours[_PATCHES], patch_size)
    return ours


def traceable(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors as autograd's leaves, so that what is made of them leads back to them."""
    return {
        name: tensor.detach().requires_grad_(tensor.is_floating_point())
        for name, tensor in state_dict.items()
    }


def origins(tensor: Tensor, names: Mapping[int, str]) -> set[str]:
    """Which tensors of the file one of the result was made of; `names` by the tensors' ids."""
    if id(tensor) in names:
        return {names[id(tensor)]}
    found, seen, pending = set(), set(), [tensor.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, 'variable', None)) is not None and id(leaf) in names:
            found.add(names[id(leaf)])
        pending += [parent for parent, _ in node.next_functions]
    return found


def report(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """One line a key of the file, one for each key that is only in the result, and a summary.

    Args:
        before: of the file, made `traceable`.
        after: what became of it.
    """
    names = {id(tensor): name for name, tensor in before.items()}
    made_of = {
        name: origins(tensor, names) or ({name} & before.keys()) for name, tensor in after.items()
    }
    lines = []
    for name, tensor in sorted(before.items()):
        shape = tuple(tensor.shape)
        targets = [target for target, sources in made_of.items() if name in sources]
        if not targets:
            lines.append(f'left out   {name} {shape}')
        for target in targets:
            new = after[target]
            if len(made_of[target]) > 1:
                change = 'joined'
            elif new.numel() != tensor.numel():
                change = 'resized'
            elif new.shape != tensor.shape:
                change = 'reshaped'
            else:
                change = 'kept' if target == name else 'renamed'
            arrow = '' if change == 'kept' else f' -> {target} {tuple(new.shape)}'
            lines.append(f'{change:<10} {name} {shape}{arrow}')
    lines += [
        f'made       {name} {tuple(after[name].shape)}'
        for name in sorted(after)
        if not made_of[name]
    ]
    counts = Counter(line[:10].strip() for line in lines)
    return [*lines, 'keys: ' + ', '.join(f'{count} {word}' for word, count in counts.items())]


def write(state_dict: Mapping[str, Tensor], out: Path, meta: Mapping[str, str]) -> None:
    """Writes a `.safetensors` or a `.pth`, whole or not at all."""
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in state_dict.items()}
    with write_output(out, command=COMMAND) as partial:
        if out.suffix == '.safetensors':
            save_file(tensors, partial, metadata=dict(meta))
        else:
            torch.save(dict(state_dict=tensors, meta=dict(meta)), partial)


def _encoder_name(cfg: Config) -> str:
    """timm's name of the configured encoder."""
    encoder = cfg.model.backbone.get('encoder', {})
    encoder = encoder.get('encoder', encoder)
    if encoder.get('type') != 'TimmViT':
        raise WeightsError(
            f'{cfg.filename}: {cfg.model.backbone.type} has no TimmViT as its encoder; name the '
            f'configuration of a model with one'
        )
    return encoder.model_name


def _target(cfg: Config, kind: Format, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """What the weights are for: the model, its backbone, or its encoder."""
    model = build_model_on_meta(cfg)
    if kind not in MODELS:
        return model.backbone.encoder
    return model if any(name.startswith('backbone.') for name in state_dict) else model.backbone


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', help='.pth, .pth.tar, .safetensors or .npz; a file or a URL')
    parser.add_argument('out', type=Path, help='.pth or .safetensors to write')
    parser.add_argument('--config', help='the model that the weights are for')
    parser.add_argument('--encoder', help="timm's name, for encoder weights without --config")
    parser.add_argument(
        '--patch-size', type=int, help='resample the patch embedding (DINOv2: 14 to 16)'
    )
    args = parser.parse_args(argv)
    if args.out.suffix not in ('.pth', '.safetensors'):
        parser.error(f'{str(args.out)!r}: name a .pth or .safetensors file')
    with errors_as_message():
        check_outputs([args.out], command=COMMAND, inputs=[args.source])
        before = traceable(without_momentum(state_dict_of(read_checkpoint(args.source))))
        kind = format_of(before)
        cfg = read_config(config_parser('').parse_args([args.config])) if args.config else None
        name = args.encoder or (_encoder_name(cfg) if cfg else None)
        if kind in MODELS:
            after = convert_model(before)
        elif name is None:
            raise WeightsError(
                f'{args.source!r} holds an encoder ({kind}); name it with --encoder (timm name) '
                f'or --config'
            )
        else:
            check_model_name(name)
            after = convert_encoder(before, name, args.source, args.patch_size)
            with torch.device('meta'):
                encoder = TimmViT(name, keep_prefix_tokens=True, **sizes_of(after))
            converted = converted_for(encoder, after)
            encoder.check_state_dict(converted, '', what=f'checkpoint {args.source}')
        fit = None
        if cfg is not None:
            target = _target(cfg, kind, after)
            fit = check_fit(target, after, what=f'checkpoint {args.source}')
            after = converted_for(target, after)
    print(f'{args.source}: {kind}, {len(before)} tensors')
    print('\n'.join(report(before, after)))
    if fit is not None:
        print(f'compared with {args.config}: {fit}')
    write(after, args.out, dict(source=str(args.source), format=kind))
    print(f'wrote {args.out}: {len(after)} tensors')
    return 0


if __name__ == '__main__':
    sys.exit(main())
