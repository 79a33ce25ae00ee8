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

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_parser, parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', help='.pth, .pth.tar, .safetensors or .npz; a file or a URL')
    parser.add_argument('out', type=Path, help='.pth or .safetensors to write')
    parser.add_argument('--config', help='the model that the weights are for')
    parser.add_argument('--encoder', help="timm's name, for encoder weights without --config")
    parser.add_argument(
        '--patch-size', type=positive, help='resample the patch embedding (DINOv2: 14 to 16)'
    )
    args = parse(parser, argv)
    if args.out.suffix not in ('.pth', '.safetensors'):
        parser.error(f'{str(args.out)!r}: name a .pth or .safetensors file')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor, nn

from vitadapter_dense.backbones.official_checkpoint import convert_encoder, convert_model, sizes_of
from vitadapter_dense.checkpoints.checked_loading import (
    WeightsError,
    check_fit,
    converted_for,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.checkpoints.conversion_report import report, traceable
from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.encoders.foreign_weights import Format, format_of, without_momentum
from vitadapter_dense.encoders.hub import check_model_name
from vitadapter_dense.encoders.uniperceiver_names import in_plain_vit_names
from vitadapter_dense.inference.predictor import build_model_on_meta
from vitadapter_dense.reports.output_files import check_outputs, write_output

COMMAND = 'official_checkpoint'
MODELS = ('adapter', 'baseline')  # of the original code; all other formats are encoders


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
    args = parse_args(argv)
    with errors_as_message():
        check_outputs([args.out], command=COMMAND, inputs=[args.source])
        before = traceable(without_momentum(state_dict_of(read_checkpoint(args.source))))
        kind = format_of(in_plain_vit_names(before))
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
