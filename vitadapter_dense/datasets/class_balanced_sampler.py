"""``ClassBalancedSampler``: every class as often as any other, whatever its number of images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from .classification import labels_of


@DATA_SAMPLERS.register_module()
class ClassBalancedSampler(Sampler):
    """Draws a class, then one of its images: class-balanced sampling for long-tailed sets.

    An epoch has as many samples as the set has images. Each class comes as often as any other, but
    for one; within a class, images come in an order drawn anew, all once before any comes again.

    Args:
        dataset: a classification set, wrapped or not.
        seed: of all processes; default: drawn, the same in all.
        round_up: add samples until every process has the same number.
    """

    def __init__(self, dataset: Any, seed: int | None = None, round_up: bool = True) -> None:
        self.rank, self.world_size = get_dist_info()
        labels = labels_of(dataset)
        self._of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        whole = math.ceil(len(labels) / self.world_size) * self.world_size
        self._total = whole if round_up else len(labels)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        times = math.ceil(self._total / len(self._of_class))
        columns = []
        for own in self._of_class:
            rounds = [generator.permutation(own) for _ in range(math.ceil(times / len(own)))]
            columns.append(np.concatenate(rounds)[:times])
        # (times, classes): each row has every class once, in an order of its own
        rows = generator.permuted(np.stack(columns, axis=1), axis=1)
        return iter(rows.reshape(-1)[: self._total][self.rank :: self.world_size].tolist())

    def __len__(self) -> int:
        return len(range(self.rank, self._total, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Another epoch, another order."""
        self.epoch = epoch
