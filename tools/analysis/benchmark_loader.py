"""Times a configuration's loader without a model: by transform, and by number of workers.

    python tools/analysis/benchmark_loader.py configs/coco/mask_rcnn_vitadapter_s.py --step 0.4

The loader is the training's own, with its sampler and seeds. Transforms are timed in this process;
where `passed` is well above `processor`, they waited: for the disk, or for other programs. Images a
second are those that arrive once every worker has its batches under way; with other programs on
the machine look at the processor's time instead. With `--step`, the seconds that a training step
takes, it says which numbers of workers keep up.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing import active_children
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import above_zero, config_parser, not_negative, parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Time a loader without a model.')
    parser.add_argument(
        '--split', choices=('train', 'val', 'test'), default='train', help='default: train'
    )
    parser.add_argument(
        '--workers', type=not_negative, nargs='+', default=[0, 1, 2, 4], help='default: 0 1 2 4'
    )
    parser.add_argument('--batches', type=positive, default=50, help='of each (default: 50)')
    parser.add_argument('--step', type=above_zero, metavar='S', help='seconds of a training step')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import psutil
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from vitadapter_cli.options import settle_workers
from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.transform_times import Spent, TransformTimes, format_times, now
from vitadapter_dense.training.runner import DenseRunner
from vitadapter_dense.training.seeded_data import seeded_dataloader


def build_loader(cfg: Config, split: str, workers: int) -> DataLoader:
    """The loader of a split as the runner builds it, without end."""
    options = cfg[f'{split}_dataloader'].copy()
    if options.get('num_workers', 0) != workers:
        options.num_workers = workers
        options.persistent_workers = True
    settle_workers(options)
    loader = DenseRunner.build_dataloader(options, seed=0)
    return seeded_dataloader(loader, seed=0, endless=True)


def images_of(batches: Iterator) -> int:
    """Loads batches; how many images they have."""
    return sum(len(batch['inputs']) for batch in batches)


def by_transform(loader: DataLoader, batches: int) -> tuple[dict[str, Spent], int]:
    """What loading in this process takes by transform, and the images, after a first batch."""
    times = TransformTimes(loader.dataset)
    iterator = iter(loader)
    next(iterator)
    times.spent.clear()
    start = now()
    images = images_of(islice(iterator, batches))
    whole = now() - start
    rest = whole - sum(times.spent.values(), Spent())
    return {**times.spent, 'set, seeds, collating': rest}, images


def processor_seconds() -> float:
    """Of this process and its workers."""
    workers = (psutil.Process(worker.pid).cpu_times() for worker in active_children())
    return time.process_time() + sum(each.user + each.system for each in workers)


def arriving(loader: DataLoader, batches: int) -> tuple[float, float]:
    """Images a second, and the processor's seconds of one, once all workers are ahead."""
    iterator = iter(loader)
    ahead = loader.num_workers * (loader.prefetch_factor or 0)
    images_of(islice(iterator, 1 + ahead))
    start, before = time.perf_counter(), processor_seconds()
    images = images_of(islice(iterator, batches))
    return images / (time.perf_counter() - start), (processor_seconds() - before) / images


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        cfg = read_config(args)
        if cfg.get(f'{args.split}_dataloader') is None:
            raise ValueError(f'{args.config} has no {args.split}_dataloader.')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with errors_as_message(OSError, DatasetError):
        spent, images = by_transform(build_loader(cfg, args.split, 0), args.batches)
        batch = images / args.batches
        print(f'{args.split} of {args.config}, batches of {batch:g}, {os.cpu_count()} cores here')
        print(format_times(spent, images))
        print(f'{"workers":>7} {"images a second":>16} {"processor, ms":>14}', flush=True)
        for workers in dict.fromkeys(args.workers):
            speed, taken = arriving(build_loader(cfg, args.split, workers), args.batches)
            verdict = ''
            if args.step:
                waits = batch / speed - args.step
                verdict = f'  waits {waits:.3f} s a step' if waits > 0 else '  keeps up'
            print(f'{workers:>7} {speed:>16.1f} {1e3 * taken:>14.2f}{verdict}', flush=True)
    if args.step:
        one = sum(spent.values(), Spent()).processor / images
        print(
            f'A step of {args.step:g} s takes {batch / args.step:.1f} images a second, and the '
            f'processor {one:.4f} s for one: {math.ceil(one * batch / args.step)} workers with a '
            'core each.'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
