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

import matplotlib

matplotlib.use('Agg')

import numpy as np
from matplotlib import pyplot as plt
from mmengine.config import Config

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.command_line.arguments import (
    build_runner,
    config_parser,
    errors_as_message,
    prepare_launch,
    read_config,
)
from vitadapter_dense.command_line.config import add_hook, set_work_dir
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.datasets.check_coco import check_config_datasets, log_remarks
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.confusion_matrix import ConfusionMatrix
from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.reports.plots import check_plot
from vitadapter_dense.reports.progress import ProgressBarHook

COMMAND = 'confusion_matrix'
WRITTEN_NUMBERS = 20  # with more classes the cells are too small for them


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Draw the confusion matrix of a segmentor.')
    parser.add_argument('checkpoint', help='checkpoint, or a work directory (its best or last one)')
    parser.add_argument(
        '--out', type=Path, help='PNG to write (default: <work dir>/confusion_matrix.png)'
    )
    parser.add_argument('--work-dir', help='where the log goes (default: that of the checkpoint)')
    parser.add_argument('--worst', type=int, default=10, help='confusions to list (default: 10)')
    return parser.parse_args(argv)


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


def draw(matrix: np.ndarray, classes: Sequence[str], *, out: Path) -> None:
    """Writes the matrix as a picture, each row in percent of the class's pixels.

    A class without pixels has an empty row; one that is not predicted either is left out.
    """
    present = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    matrix, names = matrix[np.ix_(present, present)], [classes[index] for index in present]
    with np.errstate(invalid='ignore'):
        percent = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    number, absent = len(names), len(classes) - len(names)
    side = max(5.0, 0.24 * number + 2)  # inches
    figure, axes = plt.subplots(figsize=(side + 1, side), layout='constrained')
    shown = axes.imshow(percent, cmap='Blues', vmin=0, vmax=100)
    large = 8 + side / 3
    bar = figure.colorbar(shown, fraction=0.3 / side, aspect=3 * side, pad=0.02)
    bar.set_label("% of the class's pixels", fontsize=large)
    bar.ax.tick_params(labelsize=large)
    size = 9 if number <= WRITTEN_NUMBERS else 7
    axes.set_xticks(range(number), names, rotation=90, fontsize=size)
    axes.set_yticks(range(number), names, fontsize=size)
    axes.set_xlabel('predicted', fontsize=large)
    axes.set_ylabel('true', fontsize=large)
    if absent:
        axes.set_title(f'{absent} classes that are nowhere are left out', fontsize=large)
    if number <= WRITTEN_NUMBERS:
        for row, column in zip(*np.nonzero(~np.isnan(percent)), strict=True):
            value = percent[row, column]
            colour = 'white' if value > 50 else 'black'
            text = f'{value:.0f}'
            axes.text(column, row, text, ha='center', va='center', color=colour, fontsize=size)
    with write_output(out, command=COMMAND) as partial:
        figure.savefig(partial, dpi=110)
    plt.close(figure)


def worst_confusions(
    matrix: np.ndarray, classes: Sequence[str], *, count: int
) -> list[tuple[str, str, int, float]]:
    """The most frequent confusions: true and predicted class, pixels, share of the true class."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    total = matrix.sum(axis=1)
    places = np.argsort(-wrong, axis=None, kind='stable')[:count]
    pairs = zip(*np.unravel_index(places, wrong.shape), strict=True)
    return [
        (classes[true], classes[found], int(wrong[true, found]), wrong[true, found] / total[true])
        for true, found in pairs
        if wrong[true, found]
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        cfg = configure(args)
        runner = build_runner(cfg, evaluation=True)
    with errors_as_message(DatasetError, WeightsError):
        metrics = runner.test()
    matrix = runner.test_evaluator.metrics[0].matrix
    classes = runner.test_dataloader.dataset.metainfo['classes']
    draw(matrix, classes, out=args.out)
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
    sys.exit(main())
