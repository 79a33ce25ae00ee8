"""Draws what a model takes the objects or pixels of each class for, and lists the worst confusions.

    python tools/analysis/confusion_matrix.py configs/ade20k/upernet_vitadapter_s.py WORK_DIR

Evaluates the checkpoint on the configuration's test data and writes a PNG and a CSV of the counts:
pixels of a segmentor; objects of a detector, with those that it missed and its false predictions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import add_checkpoint_argument, config_parser, not_negative, parse, share

COMMAND = 'confusion_matrix'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Draw the confusion matrix of a segmentor or a detector.')
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--out', type=Path, help='PNG to write (default: <work dir>/confusion_matrix.png)'
    )
    parser.add_argument('--work-dir', help='where the log goes (default: that of the checkpoint)')
    parser.add_argument(
        '--worst', type=not_negative, default=10, help='confusions to list (default: 10)'
    )
    parser.add_argument(
        '--score-thr', type=share, default=0.3, help='lowest score that counts (default: 0.3)'
    )
    parser.add_argument(
        '--iou-thr',
        type=share,
        default=0.5,
        help="least overlap of a prediction's box with its object's (default: 0.5)",
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.command_line.arguments import (
    build_runner,
    errors_as_message,
    prepare_launch,
    read_config,
)
from vitadapter_dense.command_line.config import add_hook
from vitadapter_dense.command_line.work_dirs import set_tested
from vitadapter_dense.datasets.check_coco import check_config_datasets, log_remarks
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.confusion_matrix import PixelConfusionMatrix
from vitadapter_dense.reports.confusion_plot import draw_confusions, worst_confusions
from vitadapter_dense.reports.detection_confusion import DetectionConfusionMatrix
from vitadapter_dense.reports.output_files import OutputError
from vitadapter_dense.reports.plots import check_plot
from vitadapter_dense.reports.progress import ProgressBarHook


def configure(args: argparse.Namespace) -> Config:
    """Makes the configuration whose only metric is the matrix.

    Raises:
        ValueError: when it is neither a segmentor's nor a detector's, or has no test data.
    """
    cfg = read_config(args)
    kinds = dict(mmseg=PixelConfusionMatrix, mmdet=DetectionConfusionMatrix)
    kind = kinds.get(cfg.get('default_scope'))
    if kind is None or cfg.get('test_dataloader') is None:
        raise ValueError(
            f'{args.config} is not the configuration of a segmentor or a detector with test data: '
            'there is nothing to count.'
        )
    set_tested(cfg, args.config, args.checkpoint, work_dir=args.work_dir)
    args.out = args.out or Path(cfg.work_dir) / 'confusion_matrix.png'
    check_plot(args.out, args.out.with_suffix('.csv'), command=COMMAND)
    thresholds = dict(score_thr=args.score_thr, iou_thr=args.iou_thr)
    options = thresholds if kind is DetectionConfusionMatrix else {}
    kind(**options)  # what is wrong with them is said before the work
    cfg.test_evaluator = dict(type=kind.__name__, **options)
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
    dataset, metric = runner.test_dataloader.dataset, runner.test_evaluator.metrics[0]
    with errors_as_message(DatasetError, OutputError, WeightsError):
        if isinstance(metric, DetectionConfusionMatrix) and not metric.read_objects(dataset):
            raise DatasetError(f'{type(dataset).__name__} does not name the objects of its images.')
        metrics = runner.test()
        classes, unit = dataset.metainfo['classes'], metric.unit
        draw_confusions(metric.matrix, classes, unit=unit, out=args.out, command=COMMAND)
    print(', '.join(f'{name} {value:.2f}' for name, value in metrics.items()))
    print('Worst confusions (true -> predicted):')
    for true, found, times, part in worst_confusions(metric.matrix, classes, count=args.worst):
        print(f'  {true} -> {found}: {times} {unit}, {part:.1%} of {true}')
    print(f'Written: {args.out}, {args.out.with_suffix(".csv")}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
