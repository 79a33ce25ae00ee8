"""``LongTailed``: a classification set with some of its images, so that classes form a long tail.

The exponential profile of Class-Balanced Loss (Cui et al., CVPR 2019, section 5.1) and LDAM (Cao et
al., NeurIPS 2019, https://arxiv.org/abs/1906.07413, section 4), by which CIFAR-10-LT and
CIFAR-100-LT are made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.registry import DATASETS

from .chosen_samples import ChosenSamples
from .classification import count_labels, labels_of
from .errors import DatasetError


@DATASETS.register_module()
class LongTailed(ChosenSamples):
    """Images of another classification set: class i of C keeps n * imbalance ** (-i / (C - 1)).

    n is the number of images of the largest class. Which images a class keeps is drawn with a seed,
    and their order stays. A class that has less than it may keep, keeps all.

    Args:
        dataset: config of the set, or the set itself.
        imbalance: images of the first class to those of the last; usual are 10, 50 and 100.
        seed: of the draw.
        lazy_init: fill it later, with `full_init`.

    Raises:
        DatasetError: an imbalance below 1, or one that leaves a class empty.
    """

    def __init__(
        self, dataset: Any, imbalance: float, *, seed: int = 0, lazy_init: bool = False
    ) -> None:
        if imbalance < 1:
            raise DatasetError(
                f'imbalance={imbalance}: it is the first class to the last, 1 or more; usual are '
                '10, 50 and 100'
            )
        self.imbalance, self.seed = imbalance, seed
        super().__init__(dataset, lazy_init=lazy_init)

    @property
    def metainfo(self) -> dict[str, Any]:
        """The set's own."""
        return self.dataset.metainfo

    def choose(self) -> np.ndarray:
        """Draws the images."""
        labels = labels_of(self.dataset)
        counts = count_labels(self.dataset, labels)
        kept = profile(int(counts.max(initial=0)), len(counts), self.imbalance)
        empty = np.flatnonzero(np.minimum(kept, counts) == 0)
        if empty.size:
            name = self.metainfo['classes'][empty[0]]
            raise DatasetError(
                f'imbalance={self.imbalance:g} leaves the class {name!r} and {empty.size - 1} more '
                f'of {len(counts)} empty: the largest has {counts.max(initial=0)} images, this one '
                f'{counts[empty[0]]}. Mend: an imbalance of at most {max(1, counts.max(initial=0))}'
            )
        generator = np.random.default_rng(self.seed)
        of_class = [np.flatnonzero(labels == label) for label in range(len(counts))]
        drawn = [generator.permutation(own)[:keep] for own, keep in zip(of_class, kept)]
        chosen = np.sort(np.concatenate(drawn))
        self._labels = labels[chosen]
        return chosen

    def get_gt_labels(self) -> np.ndarray:
        """(N,) int64, the labels of all images."""
        self.full_init()
        return self._labels


def profile(most: int, num_classes: int, imbalance: float) -> np.ndarray:
    """(C,) int64, images of each class from the first, with so many, to the last."""
    exponents = np.arange(num_classes) / max(1, num_classes - 1)
    # a hair more: 500 / 100 is 5, not the 4.99.. that rounding makes of it
    return np.floor(most * imbalance**-exponents + 1e-9).astype(np.int64)
