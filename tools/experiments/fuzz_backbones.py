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
import math
import pprint
import random
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import vitadapter_dense  # noqa: F401  (registers)
from tools.experiments.fuzz_configs import Draw, draw
from tools.experiments.gradient_check import (
    IMAGES,
    GradientCheck,
    faults_of_parts,
    is_dense,
    randomise,
)

ONE_BY_ONE = 8  # tensors a run whose gradients are taken alone, beside all of them together


def build(config: dict[str, Any], seed: int) -> nn.Module:
    """The model of a drawn configuration, in float64 and drawn anew."""
    torch.manual_seed(seed)
    return randomise(MODELS.build(config), torch.Generator().manual_seed(seed))


def expected_sizes(drawn: Draw) -> list[tuple[int, int]]:
    """Sizes of the maps that the backbones promise."""
    height, width = drawn.hw
    return [(math.ceil(height / stride), math.ceil(width / stride)) for stride in drawn.strides]


def mixes_images(model: nn.Module) -> bool:
    """Whether images of a batch meet: in a batch norm in training mode."""
    return any(isinstance(m, _BatchNorm) and m.training for m in model.modules())


def run_once(seed: int) -> tuple[Draw, list[str]]:
    """One run; what is wrong with it, in words."""
    drawn = draw(seed)
    model = build(drawn.config, seed)
    model.train(drawn.training)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(drawn.batch, *drawn.hw, 3, generator=generator, dtype=torch.float64)
    check = GradientCheck(model, images.movedim(-1, 1), generator)
    wrong = []
    sizes = [tuple(feature_map.shape[2:]) for feature_map in check.maps]
    if sizes != expected_sizes(drawn):
        wrong.append(f'maps of {sizes}, promised {expected_sizes(drawn)}')
    if not all(feature_map.isfinite().all() for feature_map in check.maps):
        wrong.append('a map is not finite')
    wrong += [f'strides {m.stride()} of {tuple(m.shape)}' for m in check.maps if not is_dense(m)]
    if drawn.apart:  # what runs without gradients hides a part of the images' effect
        del check.tensors[IMAGES]
    names = random.Random(seed).sample(list(check.tensors), min(ONE_BY_ONE, len(check.tensors)))
    wrong += [str(fault) for fault in check.faults_of_all() or check.faults(names)]
    if drawn.batch > 1 and not drawn.apart and not mixes_images(model):
        wrong += [f'{name} is not that of the images one by one' for name in faults_of_parts(check)]
    wrong += _loaded_again(model, drawn, seed)
    wrong += [f'{name}: no gradient' for name in _dead(model, check, drawn, seed)]
    return drawn, wrong


def _loaded_again(model: nn.Module, drawn: Draw, seed: int) -> list[str]:
    other = build(drawn.config, seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'model.pth'
        torch.save(model.state_dict(), file)
        other.load_state_dict(torch.load(file, weights_only=True))
    images = torch.randn(drawn.batch, 3, *drawn.hw, dtype=torch.float64)
    for each in (model, other):
        each.train(False)
    with torch.no_grad():
        pairs = zip(model(images), other(images), strict=True)
        return [
            f'map {level} differs after saving and loading'
            for level, (one, two) in enumerate(pairs)
            if not torch.equal(one, two)
        ]


def _dead(model: nn.Module, check: GradientCheck, drawn: Draw, seed: int) -> set[str]:
    """Tensors without a gradient under any of some draws; a batch norm in training mode takes a
    bias away, and a narrow gate may be shut."""
    dead = set(check.dead())
    for more in range(1, 8):
        if not dead:
            break
        generator = torch.Generator().manual_seed(seed + more)
        randomise(model, generator).train(False)
        images = torch.randn(1, 3, *drawn.hw, generator=generator, dtype=torch.float64)
        dead &= set(GradientCheck(model, images, generator).dead())
    return {name for name in dead if not re.search(drawn.idle, name)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until the number of runs or seconds is reached; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--runs', type=int, help='default: without end, if --seconds is given')
    parser.add_argument('--seconds', type=float, help='begin no run after so many')
    parser.add_argument('--seed', type=int, help='of the first run; default: a fresh one')
    args = parser.parse_args(arguments)
    if args.runs is None and args.seconds is None:
        parser.error('give --runs or --seconds')
    first = random.SystemRandom().randrange(10**8) if args.seed is None else args.seed
    print(f'seed {first}; run i has the seed {first} + i', flush=True)
    warnings.filterwarnings('ignore')
    torch.set_num_threads(1)
    start, failed, done = time.monotonic(), [], 0
    while args.runs is None or done < args.runs:
        if args.seconds is not None and time.monotonic() - start > args.seconds:
            break
        seed = first + done
        try:
            drawn, wrong = run_once(seed)
        except Exception:
            drawn, wrong = draw(seed), [traceback.format_exc(limit=-4)]
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
