"""Compares tuning methods on a small transfer that runs on two CPU cores.

    python tools/experiments/tuning_shapes.py --out work_dirs/tuning_shapes
    python tools/experiments/tuning_shapes.py --arch vit --methods full head_only vpt_deep lora

A small backbone is pre-trained to classify single generated shapes. Then a segmentor with it is
tuned on scenes of the same shapes whose colours are shifted and noisy, once for every method,
learning rate and seed, all with the same head, number of steps and learning rates. The rate is
chosen by the mean over the seeds on one held-out split, what is reported is measured on another.
Every run leaves a file in `--out`; a call that was stopped goes on with the runs that are missing.
`table.md` and `plot.png` are written at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import parse

SIZE, CROP = 96, 64
BACKBONES = dict(
    resnet=dict(
        type='TimmStages',
        model_name='resnet18',
        layers=(2, 2, 2, 2),
        channels=(24, 48, 96, 192),
        stem_width=24,
    ),
    vit=dict(
        type='PlainViT',
        encoder=dict(
            type='TimmViT',
            model_name='vit_tiny_patch16_224',
            img_size=CROP,
            patch_size=8,
            embed_dim=128,
            depth=6,
            num_heads=4,
        ),
    ),
)
METHODS = dict(
    full=dict(type='FullTuning'),
    head_only=dict(type='HeadOnly'),
    partial1=dict(type='PartialTuning', num_blocks=1),
    bias=dict(type='BiasTuning'),
    norm=dict(type='NormTuning'),
    adapter=dict(type='Adapter', hidden=16),
    lora=dict(type='LoRA', rank=4),
    pro_tuning=dict(type='ProTuning'),
    ssf=dict(type='SSF'),
    side=dict(type='SideTuning', width=16),
    mona=dict(type='Mona', hidden=16),
    adaptformer=dict(type='AdaptFormer', hidden=16),
    convpass=dict(type='Convpass'),
    vpt=dict(type='VisualPromptTuning', num_tokens=10),
    vpt_deep=dict(type='VisualPromptTuning', num_tokens=10, deep=True),
    mlp_head=dict(type='MLPHead', num_layers=2),
)
DEFAULT = ('full', 'head_only', 'partial1', 'bias', 'adapter', 'lora', 'pro_tuning')
COMMAND = 'tuning_shapes'
RATES, SEEDS = (1e-3, 3e-3, 1e-2), (0, 1)
PICTURES = dict(count=3000, unseen=500)
SPLITS = dict(train=(400, 10), select=(100, 11), test=(200, 12))  # scenes, seed


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Compare tuning methods on generated shapes.')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/tuning_shapes'), help='where results go'
    )
    parser.add_argument('--arch', default='resnet', choices=BACKBONES)
    parser.add_argument('--methods', nargs='+', default=list(DEFAULT), choices=METHODS)
    parser.add_argument('--steps', type=int, default=400, help='of each tuning run')
    parser.add_argument('--pretrain-steps', type=int, default=1500)
    parser.add_argument('--rates', type=float, nargs='+', default=list(RATES))
    parser.add_argument('--seeds', type=int, nargs='+', default=list(SEEDS))
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from rich.progress import track

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.datasets.shapes_transfer import shifted_scenes
from vitadapter_dense.reports.output_files import OutputError, check_outputs, claim_folder
from vitadapter_dense.reports.tuning_transfer import TRANSFER_FILES, write_transfer
from vitadapter_dense.training.tuning_transfer import pretrain, tune


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing and writes the report."""
    args = parse_args(argv)
    try:
        claim_folder(args.out, command=COMMAND)
        check_outputs([args.out / name for name in TRANSFER_FILES], command=COMMAND)
    except OutputError as error:
        sys.exit(f'error: {error}')

    backbone = BACKBONES[args.arch]
    path = args.out / f'pretrained_{args.arch}_{args.pretrain_steps}.pth'
    if not path.is_file():
        weights, accuracy = pretrain(backbone, steps=args.pretrain_steps, size=CROP, **PICTURES)
        with atomic_write(path) as file:
            torch.save(dict(weights=weights, accuracy=accuracy), file)
    start = torch.load(path, weights_only=True)
    data = {split: shifted_scenes(*scenes, size=SIZE) for split, scenes in SPLITS.items()}
    runs = list(itertools.product(args.methods, args.rates, args.seeds))
    results = {}
    for method, rate, seed in track(runs, 'tuning'):
        settings = f'{rate:g}_{seed}_{args.steps}_{args.pretrain_steps}'
        path = args.out / f'{args.arch}_{method}_{settings}.json'
        if not path.is_file():
            how = dict(rate=rate, seed=seed, steps=args.steps)
            result = tune(backbone, METHODS[method], start['weights'], data, **how)
            with atomic_write(path) as file:
                file.write(json.dumps(result).encode())
        results[method, rate, seed] = json.loads(path.read_text())
    written = write_transfer(results, args.out, accuracy=start['accuracy'], command=COMMAND)
    print(written[0].read_text())
    print('Written:', *written)
    return 0


if __name__ == '__main__':
    sys.exit(main())
