"""Reads a data set whole, and reports what would break a training on it, or spoil its result.

    python tools/dataset/check_dataset.py configs/ade20k/upernet_vitadapter_s.py --data-root FOLDER

For COCO, for images with label maps and for classification sets. Of every split: missing and broken
files, sizes that do not match, labels that are no class, and how often each class occurs, as a
table and a plot; and whether the model, the evaluators and the splits fit each other. The exit
status is 1 when something would break.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_parser, parse

COMMAND = 'check_dataset'
SPLITS = ('train', 'val', 'test')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Read a whole data set and report what would break a training.')
    parser.add_argument(
        '--splits', nargs='+', choices=SPLITS, default=SPLITS, help='splits to read (default: all)'
    )
    parser.add_argument(
        '--out', type=Path, help='plot to write (default: dataset.png in the work directory)'
    )
    parser.add_argument(
        '--workers', type=int, default=min(8, os.cpu_count() or 1), help='reading processes'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.command_line.config import set_work_dir
from vitadapter_dense.datasets.check_batches import find_batch_problems
from vitadapter_dense.datasets.check_classes import find_class_faults, list_classified
from vitadapter_dense.datasets.check_config import inspect_config
from vitadapter_dense.datasets.check_losses import doubtful_losses
from vitadapter_dense.datasets.check_overlap import find_shared_images
from vitadapter_dense.datasets.dataset_configs import (
    UsedDataset,
    evaluated_leaves,
    is_classification,
    list_datasets,
)
from vitadapter_dense.datasets.split_report import SplitReport, report_split
from vitadapter_dense.encoders.image_statistics import find_other_statistics
from vitadapter_dense.reports.class_shares import draw_class_shares
from vitadapter_dense.reports.plots import check_plot


def find_datasets(cfg: Config, splits: Sequence[str]) -> list[UsedDataset]:
    """The data sets of the splits; the same files only once.

    Raises:
        ValueError: when the configuration has none.
    """
    found = list_datasets(cfg, splits)
    if not found:
        raise ValueError(f'{cfg.filename} has no data set of {", ".join(splits)}.')
    return found


def print_report(split: str, report: SplitReport) -> None:
    """Prints the table of a split, and what was found."""
    print(f'\n{split}: {report.name}, {report.images} images')
    total = sum(count for _, count, _ in report.classes)
    if total:
        width = max(5, *(len(name) for name, _, _ in report.classes))
        print(f'  {"class":<{width}}  {report.unit:>12}    share  images')
        for name, count, images in report.classes:
            print(f'  {name:<{width}}  {count:>12}  {count / total:>7.2%}  {images:>6}')
    if report.imbalance():
        print(f'  imbalance: {report.imbalance()}')
    print_findings(report.warnings, report.errors)


def print_findings(warnings: Sequence[str], errors: Sequence[str]) -> None:
    """Prints one line for each."""
    for kind, lines in (('warning', warnings), ('ERROR', errors)):
        for line in lines:
            print(f'  {kind}: {line}')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        cfg = read_config(args)
        out = args.out or Path(set_work_dir(cfg, args.config, work_dir=None)) / 'dataset.png'
        check_plot(out, command=COMMAND)
        datasets = find_datasets(cfg, args.splits)
        reports = {}
        for used in datasets:
            reports[used.name] = report_split(used.cfg, workers=args.workers, used=used)
            print_report(used.name, reports[used.name])
        broken = [split for split, report in reports.items() if report.errors]
        found = inspect_config(cfg, datasets, args.splits)
        if not broken:
            found.errors += find_batch_problems(cfg, evaluated_leaves(cfg, args.splits))
            classified = [used for used in datasets if is_classification(used.cfg)]
            listed = [(used, list_classified(used.cfg)) for used in classified]
            found.errors += find_class_faults(cfg.get('model') or {}, listed)
    warnings = [
        *doubtful_losses(cfg.get('model') or {}),
        *find_other_statistics(cfg),
        *found.warnings,
        *find_shared_images((used, reports[used.name].files) for used in datasets),
    ]
    if found.errors or warnings:
        print('\nconfiguration')
        print_findings(warnings, found.errors)
    draw_class_shares(reports, out=out, command=COMMAND)
    if any(report.classes for report in reports.values()):
        print(f'\nPlot written to {out}')
    broken += ['the configuration'] if found.errors else []
    print(
        f'To be mended before a training: {", ".join(broken)}' if broken else 'Nothing would break.'
    )
    return 1 if broken else 0


if __name__ == '__main__':
    sys.exit(main())
