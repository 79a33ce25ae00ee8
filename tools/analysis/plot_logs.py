"""Plots losses, learning rate and validation metrics of one or more runs.

    python tools/analysis/plot_logs.py work_dirs/coco/mask_rcnn_vit_s work_dirs/coco/mask_rcnn_vit_b

Reads every `*/vis_data/scalars.json` of a work directory, so that a run and its resumptions make
one curve: where they overlap, the later one stands.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description='Plot losses, learning rates and validation metrics of runs.'
    )
    parser.add_argument('work_dirs', nargs='+', help='work directories')
    parser.add_argument('--out', help='picture to write (default: curves.png in the first one)')
    parser.add_argument(
        '--losses',
        nargs='+',
        help='scalars of the left plot (default: each loss of one run, the totals of several)',
    )
    parser.add_argument(
        '--metrics', nargs='+', help='scalars of the right plot (default: mAP, mIoU)'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.reports.curves import chosen_losses, chosen_metrics, plot_curves
from vitadapter_dense.reports.output_files import OutputError
from vitadapter_dense.reports.plots import check_plot
from vitadapter_dense.reports.run_logs import read_curves, scalar_files

COMMAND = 'plot_logs'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    try:
        runs = [read_curves(work_dir, scalar_files(work_dir)) for work_dir in args.work_dirs]
        losses = chosen_losses(runs, args.losses)
        metrics = chosen_metrics(runs, args.metrics)
        out = Path(args.out or Path(args.work_dirs[0]) / 'curves.png')
        check_plot(out, command=COMMAND)
    except (FileNotFoundError, OutputError, ValueError) as error:
        raise SystemExit(f'error: {error}') from error
    plot_curves(runs, losses=losses, metrics=metrics, out=out, command=COMMAND)
    for run in runs:
        if run.broken_lines:
            print(f'{run.name}: {run.broken_lines} broken line(s) of the log left out')
        for key in metrics:
            values = [record[key] for _, record in sorted(run.metrics.items()) if key in record]
            if values:
                print(f'{run.name}: {key} last {values[-1]:.4f}, best {max(values):.4f}')
    print(f'Curves written to {out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
