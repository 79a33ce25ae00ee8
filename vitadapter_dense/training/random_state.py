"""The random generators of one process: Python's, NumPy's, torch's, the accelerator's."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device


def random_state() -> dict[str, Any]:
    """The states as plain data: ``python``, ``numpy``, ``torch`` and, with a GPU, ``device``."""
    state = _host_state()
    version, words, gauss = state['python']
    _, keys, position, has_gauss, cached = state['numpy']
    plain = dict(
        python=(version, torch.tensor(words, dtype=torch.int64), gauss),
        numpy=(
            torch.from_numpy(keys.astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        torch=state['torch'],
    )
    if get_device() != 'cpu':
        plain['device'] = torch.get_device_module(get_device()).get_rng_state()
    return plain


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts back what ``random_state`` returned; generators that it lacks are left alone."""
    version, words, gauss = state['python']
    keys, position, has_gauss, cached = state['numpy']
    _set_host_state(
        dict(
            python=(version, tuple(words.tolist()), gauss),
            numpy=('MT19937', keys.numpy().astype(np.uint32), position, has_gauss, cached),
            torch=state['torch'],
        )
    )
    if 'device' in state and get_device() != 'cpu':
        torch.get_device_module(get_device()).set_rng_state(state['device'])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the host's generators within the block and puts them back after it.

    Args:
        seed: from 0 to 2**63 - 1.
    """
    before = _host_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(
        seed
    )  # torch.manual_seed would reseed the accelerator as well
    try:
        yield
    finally:
        _set_host_state(before)


def _host_state() -> dict[str, Any]:
    return dict(python=random.getstate(), numpy=np.random.get_state(), torch=torch.get_rng_state())


def _set_host_state(state: Mapping[str, Any]) -> None:
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    torch.set_rng_state(state['torch'])
