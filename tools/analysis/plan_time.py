"""Plans the time of a training step on many GPUs, on paper.

    python tools/analysis/plan_time.py configs/coco/mask_rcnn_vitadapter_l.py --gpus 8 16 32 64

Operations of the backbone's two passes are counted without memory; bytes are the whole model's. A
step lies between `hidden` (all communication beside the passes) and `exposed` (none). All that is
assumed of the machines is an option, printed below the table: put in what yours do. Not in it: what
heads and losses compute, the loader, kernels that wait for memory or for Python, other traffic.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import above_zero, config_parser, parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Plan the time of a training step on many GPUs, on paper.')
    add, number = parser.add_argument, dict(type=above_zero)
    add('--gpus', type=positive, nargs='+', default=[8, 16, 32, 64], help='default: 8 16 32 64')
    add('--side', type=positive, default=1024, help='of the image (default: 1024)')
    add('--batch', type=positive, default=2, help='images a GPU (default: 2)')
    machine = parser.add_argument_group('assumed of the machines (default: a DGX H100)')
    add = machine.add_argument
    add('--peak', default=989, **number, metavar='TFLOPS', help='of a GPU (default: 989)')
    add('--utilisation', default=0.3, **number, help='share of it that is reached (default: 0.3)')
    add('--memory', default=3350, **number, metavar='GB/S', help='of a GPU (default: 3350)')
    add('--inside', default=450, **number, metavar='GB/S', help='GPU to GPU (default: 450)')
    add('--between', default=400, **number, metavar='GB/S', help='of a machine (default: 400)')
    add('--machine', type=positive, default=8, metavar='GPUS', help='of a machine (default: 8)')
    add('--efficiency', default=0.8, **number, help='share of links reached (default: 0.8)')
    args = parse(parser, argv)
    for name in ('utilisation', 'efficiency'):
        if getattr(args, name) > 1:
            parser.error(f'--{name} is a share, 1 at most, got {getattr(args, name)}')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.inference.predictor import build_model_on_meta
from vitadapter_dense.reports.memory import stored
from vitadapter_dense.reports.time_plan import GIGA, TERA, Machine, planned_flops, step_time

COLUMNS = ('compute', 'communication', 'update', 'hidden', 'exposed', 'images a second')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        model = build_model_on_meta(read_config(args)).train()
        held = stored(model)
        shape = (args.batch, 3, args.side, args.side)
        flops = planned_flops(model.backbone, shape)
    machine = Machine(
        peak=args.peak * TERA,
        utilisation=args.utilisation,
        memory=args.memory * GIGA,
        inside=args.inside * GIGA,
        between=args.between * GIGA,
        gpus=args.machine,
        efficiency=args.efficiency,
    )
    print(f'{"seconds a step":<16}' + ''.join(f'{name:>16}' for name in COLUMNS))
    for kind in ('DDP', 'sharded'):
        for gpus in args.gpus:
            plan = step_time(
                flops,
                weights=held.weights,
                trained=held.trained,
                processes=gpus,
                kind=kind,
                machine=machine,
            )
            cells = [f'{value:>16.4f}' for value in (*plan, plan.hidden, plan.exposed)]
            images = [gpus * args.batch / seconds for seconds in (plan.exposed, plan.hidden)]
            cells.append(f'{images[0]:>9.0f} - {images[1]:.0f}'.rjust(16))
            print(f'{kind + ", " + str(gpus):<16}' + ''.join(cells))
    print(
        f'{args.batch} images of {args.side} pixels a GPU: {flops / TERA:.2f} TFLOPs of the '
        f'backbone, {held.weights / GIGA:.2f} GB of weights, {held.trained / GIGA:.2f} trained.\n'
        f'Assumed: {args.peak:g} TFLOPS x {args.utilisation:g}, memory {args.memory:g} GB/s, links '
        f'{args.inside:g} GB/s in a machine of {args.machine}, {args.between:g} between machines, '
        f'x {args.efficiency:g}.'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
