"""Random small backbones under random methods: forward, backward, save, load.

    python tools/experiments/fuzz_backbones.py --runs 1000
    python tools/experiments/fuzz_backbones.py --seconds 60
    python tools/experiments/fuzz_backbones.py --seed 1234 --runs 1      # one run again

Every run draws a backbone, an encoder of some family with or without windows and prefix tokens, a
tuning method, a batch of 1 to 3 images of 17 to 130 pixels a side, and training or evaluation. It
fails when the maps are not finite, not of the promised size or in no true layout; when a gradient
is no finite difference, of a tensor that should learn is zero, or depends on who shares the batch;
or when the saved model, loaded into a fresh one, gives other maps. Run i has the seed --seed + i;
what fails is listed with its configuration at the end.
"""

from __future__ import annotations

import argparse
import pprint
import random
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--runs', type=int, help='default: without end, if --seconds is given')
    parser.add_argument('--seconds', type=float, help='begin no run after so many')
    parser.add_argument('--seed', type=int, help='of the first run; default: a fresh one')
    args = parse(parser, argv)
    if args.runs is None and args.seconds is None:
        parser.error('give --runs or --seconds')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.training.backbone_check import faults_of
from vitadapter_dense.training.random_backbones import draw


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until the number of runs or seconds is reached; 1 if a run failed."""
    args = parse_args(argv)
    first = random.SystemRandom().randrange(10**8) if args.seed is None else args.seed
    print(f'seed {first}; run i has the seed {first} + i', flush=True)
    warnings.filterwarnings('ignore')
    torch.set_num_threads(1)
    start, failed, done = time.monotonic(), [], 0
    while args.runs is None or done < args.runs:
        if args.seconds is not None and time.monotonic() - start > args.seconds:
            break
        seed = first + done
        drawn = draw(seed)
        try:
            wrong = faults_of(drawn, seed)
        except Exception:
            wrong = [traceback.format_exc(limit=-4)]
        done += 1
        if wrong:
            failed.append(seed)
            print(f'--- seed {seed} FAILED: {pprint.pformat(drawn)}', *wrong[:8], sep='\n  ')
        if wrong or done % 25 == 0:
            seconds = time.monotonic() - start
            print(f'{done} runs, {len(failed)} failures, {seconds:.0f} s', flush=True)
    print(f'{done} runs from seed {first}, failed: {failed or "none"}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
