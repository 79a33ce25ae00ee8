"""Counts the floating-point operations of a configuration's model, module by module.

    python tools/analysis/get_flops.py configs/coco/mask_rcnn_vitadapter_s.py --shape 800 1280

Counted by torch's `FlopCounterMode`, to which multi-scale deformable attention brings its own
formula. A multiplication with its addition counts as two operations. The backbone is counted on the
meta device and needs no memory; with `--part model` the whole forward pass runs on the CPU, the
heads at the number of proposals that random weights give.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_parser, not_negative, parse, positive

PACKS = {'mmdet': 'PackDetInputs', 'mmseg': 'PackSegInputs', 'mmpretrain': 'PackInputs'}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser("Count the floating-point operations of a configuration's model.")
    parser.add_argument(
        '--shape',
        type=positive,
        nargs='+',
        metavar='SIDE',
        help="H W, or one side (default: that of the configuration's tests; 800 1280 for COCO's)",
    )
    parser.add_argument(
        '--part', choices=('backbone', 'model'), default='backbone', help='default: backbone'
    )
    parser.add_argument(
        '--depth', type=not_negative, default=1, help='levels of modules (default: 1)'
    )
    args = parse(parser, argv)
    if len(args.shape or ()) > 2:
        parser.error(f'--shape takes one or two sides, got {args.shape}')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.inference.predictor import build_model, build_model_on_meta
from vitadapter_dense.reports.flops import count_flops, format_table, in_float32, tested_shape


def backbone_flops(cfg: Config, shape: tuple[int, int]) -> dict[str, int]:
    """Counts the backbone for one image of (H, W), on the meta device where it runs there."""
    backbone = build_model_on_meta(in_float32(cfg)).backbone.eval()
    device = next(backbone.parameters()).device
    try:
        return count_flops(backbone, lambda: backbone(torch.zeros(1, 3, *shape, device=device)))
    except (NotImplementedError, RuntimeError) as error:
        if device.type != 'meta':
            raise
        print(f'The backbone does not run on the meta device ({error}): counted on the CPU.')
    backbone = build_model(cfg).backbone.eval()
    return count_flops(backbone, lambda: backbone(torch.zeros(1, 3, *shape)))


def model_flops(cfg: Config, shape: tuple[int, int]) -> dict[str, int]:
    """Counts the whole forward pass, proposals included, for one image of (H, W)."""
    model = build_model(cfg).eval()
    pack = PACKS[cfg.default_scope]
    height, width = shape
    image = np.zeros((height, width, 3), np.uint8)
    results = dict(img=image, img_shape=shape, ori_shape=shape, img_id=0, img_path='none')
    data = Compose([dict(type=pack)])(dict(results, scale_factor=(1.0, 1.0)))
    batch = model.data_preprocessor({key: [value] for key, value in data.items()})
    # MMDetection gives Sparse R-CNN no such pass; what a prediction adds to it is not counted.
    mode = 'predict' if type(model).__name__ == 'SparseRCNN' else 'tensor'
    return count_flops(model, lambda: model(**batch, mode=mode))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        cfg = read_config(args)
        shape = (args.shape[0], args.shape[-1]) if args.shape else tested_shape(cfg)
        flops = (backbone_flops if args.part == 'backbone' else model_flops)(cfg, shape)
    print(f'{args.part} of {args.config} at {shape[0]} x {shape[1]}, one image')
    print(format_table(flops, depth=args.depth))
    print('A multiplication with its addition counts as two operations (halve for MACs).')
    return 0


if __name__ == '__main__':
    sys.exit(main())
