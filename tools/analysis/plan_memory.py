"""Plans the memory of a training before there is a machine for it.

    python tools/analysis/plan_memory.py configs/coco/mask_rcnn_vitadapter_l.py --gpus 8

A step of the backbone runs without memory; weights, gradients and moments are the whole model's.
What heads hold of their own maps, CUDA's context and fragments are not in it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_parser, parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Plan the memory of a training before there is a machine for it.')
    parser.add_argument('--gpus', type=positive, default=8, help='processes (default: 8)')
    parser.add_argument(
        '--gpu-memory', type=positive, default=80, metavar='GB', help='of one (default: 80)'
    )
    parser.add_argument('--side', type=positive, default=512, help='of the image (default: 512)')
    parser.add_argument('--batch', type=positive, default=2, help='images a GPU (default: 2)')
    parser.add_argument('--amp', action='store_true', help='compute in bfloat16')
    parser.add_argument('--out', metavar='PNG', help='a chart of the parts')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import copy
from collections.abc import Iterator

from mmengine.config import Config

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.inference.predictor import build_model_on_meta
from vitadapter_dense.reports.memory_chart import draw_parts
from vitadapter_dense.reports.memory_plan import KINDS, Parts, parts_of, planned_step
from vitadapter_dense.reports.output_files import check_outputs, write_output
from vitadapter_dense.training.shard_units import units_of

COMMAND = 'plan_memory'
GB = 1e9


def variants(cfg: Config) -> Iterator[tuple[str, Config]]:
    """The configuration as it is, and with its encoder frozen in 16 bits, if it trains now."""
    yield 'as configured', cfg
    encoder = cfg.model.backbone.get('encoder')
    tuned = cfg.model.backbone.get('tuning') is not None
    if encoder is not None and not tuned and encoder.get('dtype') != 'bfloat16':
        frozen = copy.deepcopy(cfg)
        frozen.model.backbone.encoder.update(frozen=True, dtype='bfloat16')
        yield 'encoder frozen, 16 bits', frozen


def plans(cfg: Config, args: argparse.Namespace) -> Iterator[tuple[str, tuple[Parts, Parts]]]:
    """By name of what is planned the parts during the passes and while the optimiser steps.

    Raises:
        ValueError: the backbone does not run without memory.
    """
    for what, variant in variants(cfg):
        for recompute in (False, True):
            model = build_model_on_meta(variant).train()
            switches = [module for module in model.modules() if hasattr(module, 'with_cp')]
            if recompute and not switches:
                continue
            for module in switches:
                module.with_cp = recompute
            held = copy.deepcopy(model)  # the step uses its model up
            shape = (args.batch, 3, args.side, args.side)
            step = planned_step(model.backbone, shape, bfloat16=args.amp)
            units = [unit for _, unit in units_of(held)]
            for kind in KINDS:
                parts = parts_of(held, units, step, kind=kind, processes=args.gpus)
                name = f'{what}, {"recomputed" if recompute else "stored"}, {kind}'
                yield name, parts


def largest_batch(plan: tuple[Parts, Parts], batch: int, memory: float) -> int:
    """Images of one GPU that fit: activations grow with them, all else stays."""
    passes, update = plan
    free = memory - (passes.total - passes.activations)
    if update.total > memory or free < 0:
        return 0
    return int(free / (passes.activations / batch))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        check_outputs([args.out] if args.out else [], command=COMMAND)
        rows = dict(plans(read_config(args), args))
    columns = [*Parts._fields, 'sum', 'largest batch']
    width = max(map(len, rows))
    print(f'{"GB a GPU":<{width}}  ' + '  '.join(f'{name:>13}' for name in columns))
    fullest = {name: max(plan, key=lambda parts: parts.total) for name, plan in rows.items()}
    for name, parts in fullest.items():
        cells = [f'{value / GB:>13.2f}' for value in (*parts, parts.total)]
        cells.append(f'{largest_batch(rows[name], args.batch, args.gpu_memory * GB):>13}')
        print(f'{name:<{width}}  ' + '  '.join(cells))
    print(
        f'{args.batch} images of {args.side} pixels a GPU, {args.gpus} GPUs, at the fullest moment '
        '(activations: or what the optimiser holds while it steps). Not in it: what heads hold of '
        "their own maps, CUDA's context, fragments of memory."
    )
    if args.out:
        with errors_as_message(), write_output(args.out, command=COMMAND) as partial:
            draw_parts(fullest, partial, limit=args.gpu_memory * GB)
    return 0


if __name__ == '__main__':
    sys.exit(main())
