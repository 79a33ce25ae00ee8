"""Whether a backbone keeps its promises: maps, gradients, and what it saves.

The maps are finite, of the promised size and in a true layout. Gradients are finite differences, do
not depend on who shares the batch, and are not zero where something should learn. The saved model,
loaded into a fresh one, gives the same maps.
"""

from __future__ import annotations

import math
import random
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitadapter_dense.training.gradient_check import (
    IMAGES,
    GradientCheck,
    faults_of_parts,
    is_dense,
    randomise,
)
from vitadapter_dense.training.random_backbones import Draw

ONE_BY_ONE = 8  # tensors a run whose gradients are taken alone, beside all of them together


def faults_of(drawn: Draw, seed: int) -> list[str]:
    """What is wrong with a drawn backbone, in words; nothing if all is right.

    Args:
        drawn: the backbone's configuration, and what it is to be run on.
        seed: of its weights and of the images.
    """
    model = _build(drawn.config, seed)
    model.train(drawn.training)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(drawn.batch, *drawn.hw, 3, generator=generator, dtype=torch.float64)
    check = GradientCheck(model, images.movedim(-1, 1), generator)
    wrong = []
    sizes = [tuple(feature_map.shape[2:]) for feature_map in check.maps]
    if sizes != _expected_sizes(drawn):
        wrong.append(f'maps of {sizes}, promised {_expected_sizes(drawn)}')
    if not all(feature_map.isfinite().all() for feature_map in check.maps):
        wrong.append('a map is not finite')
    wrong += [f'strides {m.stride()} of {tuple(m.shape)}' for m in check.maps if not is_dense(m)]
    if drawn.apart:  # what runs without gradients hides a part of the images' effect
        del check.tensors[IMAGES]
    names = random.Random(seed).sample(list(check.tensors), min(ONE_BY_ONE, len(check.tensors)))
    wrong += [str(fault) for fault in check.faults_of_all() or check.faults(names)]
    if drawn.batch > 1 and not drawn.apart and not _mixes_images(model):
        wrong += [f'{name} is not that of the images one by one' for name in faults_of_parts(check)]
    wrong += _loaded_again(model, drawn, seed)
    return wrong + [f'{name}: no gradient' for name in _dead(model, check, drawn, seed)]


def _build(config: dict[str, Any], seed: int) -> nn.Module:
    """The model of a drawn configuration, in float64 and drawn anew."""
    torch.manual_seed(seed)
    return randomise(MODELS.build(config), torch.Generator().manual_seed(seed))


def _expected_sizes(drawn: Draw) -> list[tuple[int, int]]:
    """Sizes of the maps that the backbones promise."""
    height, width = drawn.hw
    return [(math.ceil(height / stride), math.ceil(width / stride)) for stride in drawn.strides]


def _mixes_images(model: nn.Module) -> bool:
    """Whether images of a batch meet: in a batch norm in training mode."""
    return any(isinstance(m, _BatchNorm) and m.training for m in model.modules())


def _loaded_again(model: nn.Module, drawn: Draw, seed: int) -> list[str]:
    other = _build(drawn.config, seed + 1)
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
