"""Reads a data set whole, and reports what would break a training on it, or spoil its result.

    python tools/dataset/check_dataset.py configs/ade20k/upernet_vitadapter_s.py --data-root FOLDER

For COCO and for images with label maps. Of every split: missing and broken files, sizes that do not
match, labels that are no class, and how often each class occurs, as a table and a plot; and whether
the model's heads have as many classes. The exit status is 1 when something would break.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt
from mmengine.config import Config

from vitadapter_dense.datasets.check_batches import find_batch_problems
from vitadapter_dense.datasets.check_heads import find_disagreements
from vitadapter_dense.datasets.check_losses import doubtful_losses
from vitadapter_dense.datasets.loading import value_range_of
from vitadapter_dense.datasets.split_report import SplitReport, report_split
from vitadapter_dense.encoders.image_statistics import find_other_statistics
from vitadapter_dense.engine.command_line import config_parser, errors_as_message, read_config
from vitadapter_dense.engine.config import iter_datasets, set_work_dir
from vitadapter_dense.engine.output_files import write_output
from vitadapter_dense.engine.plots import check_plot

COMMAND = 'check_dataset'
SPLITS = ('train', 'val', 'test')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Read a whole data set and report what would break a training.')
    parser.add_argument(
        '--splits', nargs='+', choices=SPLITS, default=SPLITS, help='splits to read (default: all)'
    )
    parser.add_argument(
        '--out', type=Path, help='plot to write (default: work_dirs/<config name>/dataset.png)'
    )
    parser.add_argument(
        '--workers', type=int, default=min(8, os.cpu_count() or 1), help='reading processes'
    )
    return parser.parse_args(argv)


def find_datasets(cfg: Config, splits: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """`{'train': config, ...}` of the data sets of the splits; the same files only once.

    Raises:
        ValueError: when the configuration has none.
    """
    found: dict[str, Mapping[str, Any]] = {}
    seen = []
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for number, dataset in enumerate(iter_datasets(loader.dataset) if loader else ()):
            files = [dataset.get(key) for key in ('data_root', 'ann_file', 'data_prefix')]
            files.append(value_range_of(dataset.get('pipeline')))
            if files not in seen:
                seen.append(files)
                found[f'{split} {number + 1}' if number else split] = dataset
    if not found:
        raise ValueError(f'{cfg.filename} has no data set of {", ".join(splits)}.')
    return found


def check_model(cfg: Config, reports: Mapping[str, SplitReport]) -> list[str]:
    """What of the configuration's model does not fit the classes of the splits, each once."""
    names = (tuple(name for name, _, _ in report.classes) for report in reports.values())
    model = cfg.get('model') or {}
    found = [line for classes in names if classes for line in find_disagreements(model, classes)]
    return list(dict.fromkeys(found))


def check_batches(cfg: Config, splits: Sequence[str]) -> list[str]:
    """What of the loaders of validation and test cannot be evaluated in batches as they are."""
    loaders = {name: cfg.get(f'{name}_dataloader') for name in splits if name != 'train'}
    datasets = {name: [*iter_datasets(part.dataset)] for name, part in loaders.items() if part}
    return find_batch_problems(cfg, datasets)


def _broken(reports: Mapping[str, SplitReport]) -> list[str]:
    return [split for split, report in reports.items() if report.errors]


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
    for kind, lines in (('warning', report.warnings), ('ERROR', report.errors)):
        for line in lines:
            print(f'  {kind}: {line}')


def draw(reports: Mapping[str, SplitReport], *, out: Path) -> None:
    """Writes a bar for every class and split: its share, on a logarithmic scale."""
    drawn = {split: report for split, report in reports.items() if report.classes}
    if not drawn:
        return
    classes = max((report.classes for report in drawn.values()), key=len)
    figure, axes = plt.subplots(figsize=(8, max(2.5, 0.28 * len(classes) + 1)))
    height = 0.8 / len(drawn)
    for number, (split, report) in enumerate(drawn.items()):
        total = max(1, sum(count for _, count, _ in report.classes))
        shares = [100 * count / total for _, count, _ in report.classes]
        places = [index + number * height for index in range(len(shares))]
        axes.barh(places, shares, height=height, label=f'{split} ({report.images} images)')
    middle = height * (len(drawn) - 1) / 2
    axes.set_yticks([index + middle for index in range(len(classes))], [c[0] for c in classes])
    axes.set_ylim(len(classes), -1)  # the first class on top
    axes.set_xscale('symlog', linthresh=0.01)
    axes.set_xlim(0, 100)
    axes.set(xlabel=f'% of the {next(iter(drawn.values())).unit}', title='How often classes occur')
    axes.grid(axis='x', alpha=0.3)
    axes.legend(fontsize='small', loc='upper left', bbox_to_anchor=(1, 1))
    figure.tight_layout()
    with write_output(out, command=COMMAND) as partial:
        figure.savefig(partial, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        cfg = read_config(args)
        out = args.out or Path(set_work_dir(cfg, args.config, work_dir=None)) / 'dataset.png'
        check_plot(out, command=COMMAND)
        reports = {}
        for split, dataset in find_datasets(cfg, args.splits).items():
            reports[split] = report_split(dataset, workers=args.workers)
            print_report(split, reports[split])
        batches = [] if _broken(reports) else check_batches(cfg, args.splits)
    disagreements = check_model(cfg, reports) + batches
    for line in disagreements:
        print(f'\nmodel\n  ERROR: {line}')
    for line in (*doubtful_losses(cfg.get('model') or {}), *find_other_statistics(cfg)):
        print(f'\nmodel\n  warning: {line}')
    draw(reports, out=out)
    if any(report.classes for report in reports.values()):
        print(f'\nPlot written to {out}')
    broken = _broken(reports)
    broken += ['model'] if disagreements else []
    print(
        f'To be mended before a training: {", ".join(broken)}' if broken else 'Nothing would break.'
    )
    return 1 if broken else 0


if __name__ == '__main__':
    sys.exit(main())
