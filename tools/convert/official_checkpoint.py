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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor, nn

from vitadapter_dense.backbones.official_names import backbone_name, head_name
from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.encoders.foreign_weights import (
    Format,
    format_of,
    resample_patches,
    without_momentum,
)
from vitadapter_dense.encoders.hub import check_model_name, in_timm_names
from vitadapter_dense.encoders.weights import (
    WeightsError,
    check_fit,
    converted_for,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.engine.checkpoint_files import atomic_write
from vitadapter_dense.engine.command_line import config_parser, errors_as_message, read_config
from vitadapter_dense.engine.inference import build_model_on_meta

_PATCHES = 'patch_embed.proj.weight'


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
    state_dict = dict(state_dict)
    patches = state_dict.get(_PATCHES)
    size: dict[str, Any] = {}
    positions = state_dict.get('pos_embed')
    if patches is not None and positions is not None:  # positions stay as they are
        side = round((positions.shape[1] - positions.shape[1] % 2) ** 0.5)
        size['img_size'] = side * patches.shape[-1]
    ours = in_timm_names(model_name, state_dict, source, size)
    if patch_size is not None and _PATCHES in ours and ours[_PATCHES].shape[-1] != patch_size:
        ours[_PATCHES] = resample_patches(ours[_PATCHES], patch_size)
    return ours


def report(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """One line a key of the file, and one for each key that is only in the result."""
    by_storage = {(tensor.data_ptr(), tensor.shape): name for name, tensor in after.items()}
    lines, used = [], set()
    for name, tensor in sorted(before.items()):
        ours = by_storage.get((tensor.data_ptr(), tensor.shape))
        if ours is None and name in after:
            ours = name
        if ours is None:
            ours = next((n for n in (head_name(name), _renamed(name)) if n in after), None)
        shape = tuple(tensor.shape)
        if ours is None:
            lines.append(f'left out  {name} {shape}')
            continue
        used.add(ours)
        new_shape = tuple(after[ours].shape)
        change = 'kept     ' if ours == name else 'renamed  '
        if new_shape != shape:
            change = 'resampled'
        target = '' if ours == name and new_shape == shape else f' -> {ours} {new_shape}'
        lines.append(f'{change} {name} {shape}{target}')
    made = sorted(set(after) - used)
    return lines + [f'made      {name} {tuple(after[name].shape)}' for name in made]


def _renamed(name: str) -> str:
    prefix = 'backbone.' if name.startswith('backbone.') else ''
    return prefix + backbone_name(name.removeprefix(prefix))


def write(state_dict: Mapping[str, Tensor], out: Path, meta: Mapping[str, str]) -> None:
    """Writes a `.safetensors` or a `.pth`, whole or not at all."""
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in state_dict.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == '.safetensors':
        partial = out.with_name(f'.{out.name}.partial')
        save_file(tensors, partial, metadata=dict(meta))
        partial.replace(out)
        return
    with atomic_write(out) as file:
        torch.save(dict(state_dict=tensors, meta=dict(meta)), file)


def _target(cfg: Config, kind: Format, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """What the weights are for: the model, its backbone, or its encoder."""
    model = build_model_on_meta(cfg)
    if kind != 'adapter':
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
        before = without_momentum(state_dict_of(read_checkpoint(args.source)))
        kind = format_of(before)
        cfg = read_config(config_parser('').parse_args([args.config])) if args.config else None
        name = args.encoder or (cfg.model.backbone.encoder.model_name if cfg else None)
        if kind == 'adapter':
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
                encoder = TimmViT(name)
            encoder.check_state_dict(after, '', what=f'checkpoint {args.source}')
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
