"""Draws what a segmentor takes the pixels of each class for, and lists the worst confusions.

    python tools/analysis/confusion_matrix.py configs/ade20k/upernet_vitadapter_s.py WORK_DIR

Evaluates the checkpoint on the configuration's test data and writes a PNG and a CSV of the counts.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import add_checkpoint_argument, config_parser, not_negative, parse

COMMAND = 'confusion_matrix'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Draw the confusion matrix of a segmentor.')
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--out', type=Path, help='PNG to write (default: <work dir>/confusion_matrix.png)'
    )
    parser.add_argument('--work-dir', help='where the log goes (default: that of the checkpoint)')
    parser.add_argument(
        '--worst', type=not_negative, default=10, help='confusions to list (default: 10)'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.command_line.arguments import (
    build_runner,
    errors_as_message,
    interruptible,
    prepare_launch,
    read_config,
)
from vitadapter_dense.command_line.config import add_hook, set_work_dir
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.datasets.check_coco import check_config_datasets, log_remarks
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.confusion_matrix import ConfusionMatrix
from vitadapter_dense.reports.confusion_plot import draw_confusions, worst_confusions
from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.reports.plots import check_plot
from vitadapter_dense.reports.progress import ProgressBarHook


def configure(args: argparse.Namespace) -> Config:
    """Makes the configuration whose only metric is the matrix.

    Raises:
        ValueError: when it is not one of a segmentor.
    """
    cfg = read_config(args)
    if cfg.get('default_scope') != 'mmseg' or cfg.get('test_dataloader') is None:
        raise ValueError(
            f'{args.config} is not the configuration of a segmentor with test data: the matrix '
            'counts pixels.'
        )
    source = Path(args.checkpoint)
    set_work_dir(cfg, args.config, work_dir=args.work_dir or (source if source.is_dir() else None))
    cfg.load_from = str(find_checkpoint(source))
    cfg.resume = False
    args.out = args.out or Path(cfg.work_dir) / 'confusion_matrix.png'
    check_plot(args.out, args.out.with_suffix('.csv'), command=COMMAND)
    cfg.test_evaluator = dict(type=ConfusionMatrix.__name__)
    prepare_launch(cfg, 'none')
    add_hook(cfg, dict(type=ProgressBarHook.__name__))
    log_remarks(check_config_datasets(cfg, loaders=('test',)))
    return cfg


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        cfg = configure(args)
        runner = build_runner(cfg, evaluation=True, verbose=args.verbose)
    with errors_as_message(DatasetError, WeightsError):
        metrics = runner.test()
    matrix = runner.test_evaluator.metrics[0].matrix
    classes = runner.test_dataloader.dataset.metainfo['classes']
    draw_confusions(matrix, classes, out=args.out, command=COMMAND)
    table = args.out.with_suffix('.csv')
    with (
        write_output(table, command=COMMAND) as partial,
        partial.open('w', newline='') as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(('true \\ predicted', *classes))
        writer.writerows((name, *row) for name, row in zip(classes, matrix, strict=True))
    print(', '.join(f'{name} {value:.2f}' for name, value in metrics.items()))
    print('Worst confusions (true -> predicted):')
    for true, found, pixels, share in worst_confusions(matrix, classes, count=args.worst):
        print(f'  {true} -> {found}: {pixels} pixels, {share:.1%} of {true}')
    print(f'Written: {args.out}, {table}')
    return 0


if __name__ == '__main__':
    with interruptible():
        sys.exit(main())
