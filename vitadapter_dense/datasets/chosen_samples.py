"""``ChosenSamples``: what sets that are a part of another set have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.registry import DATASETS


class ChosenSamples:
    """Some samples of another data set, chosen when it is filled.

    Args:
        dataset: config of the set, or the set itself.
        lazy_init: fill it later, with `full_init`.
    """

    def __init__(self, dataset: Any, *, lazy_init: bool = False) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self._chosen: np.ndarray | None = None
        if not lazy_init:
            self.full_init()

    def choose(self) -> np.ndarray:
        """Numbers of the samples, ascending; called once."""
        raise NotImplementedError

    def full_init(self) -> None:
        """Chooses the samples, once."""
        if self._chosen is None:
            self._chosen = self.choose()

    def __len__(self) -> int:
        self.full_init()
        return len(self._chosen)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self._inner(index)]

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What the set says of a sample before it is read."""
        return dict(self.dataset.get_data_info(self._inner(index)), sample_idx=index)

    def get_cat_ids(self, index: int) -> list[int]:
        """The labels of a sample."""
        return self.dataset.get_cat_ids(self._inner(index))

    def _inner(self, index: int) -> int:
        self.full_init()
        return int(self._chosen[index])
