"""Split a validation set off where a data set has none."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from .errors import DatasetError

Item = TypeVar('Item')


def split_off(
    items: Sequence[Item], *, share: float, seed: int, with_objects: Sequence[bool] | None = None
) -> tuple[list[Item], list[Item]]:
    """Training and validation, both in the order of the items, which the seed alone decides.

    Args:
        items: at least two.
        share: of the validation set; it has one item at least, and leaves one.
        seed: another one, another split.
        with_objects: of which items there is something to learn; both parts get their share of
            these and of the others, and training one of these at least.

    Raises:
        DatasetError: for less than two items.
    """
    if len(items) < 2:
        raise DatasetError(
            f'{len(items)} labelled image is not enough: one is needed for training and another '
            'one for validation. Mend: label more images.'
        )
    flags = list(with_objects or [True] * len(items))
    shuffled = list(range(len(items)))
    random.Random(seed).shuffle(shuffled)
    useful = [n for n in shuffled if flags[n]]
    others = [n for n in shuffled if not flags[n]]
    chosen = useful[: min(round(share * len(useful)), max(0, len(useful) - 1))]
    chosen += others[: round(share * len(others))]
    if not chosen:
        chosen = useful[-1:] if len(useful) > 1 else others[-1:]
    held = set(chosen)
    train = [item for n, item in enumerate(items) if n not in held]
    return train, [items[n] for n in sorted(held)]
