"""The best and the worst images of a test, each drawn when it is seen to be one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isnan

from mmengine.dist import all_gather_object


@dataclass(frozen=True)
class ScoredImage:
    """An image with its score and its picture.

    Attributes:
        path: of the image.
        score: 0 to 1.
        right: how much of it is right (objects, pixels); the larger is the better of two that are
            as good.
        wrong: how much is wrong; the larger is the worse of two that are as bad.
        detail: what is right and wrong, in words.
        picture: a JPEG.
    """

    path: str
    score: float
    right: int
    wrong: int
    detail: str
    picture: bytes


class Extremes:
    """Keeps the best and the worst images.

    Args:
        count: of each.
    """

    def __init__(self, count: int = 6) -> None:
        self.count = count
        self._best: list[ScoredImage] = []
        self._worst: list[ScoredImage] = []

    def offer(
        self,
        path: str,
        score: float,
        *,
        right: int,
        wrong: int,
        detail: str,
        draw: Callable[[], bytes],
    ) -> None:
        """Keeps an image if it is among the best or the worst so far; one without score is not.

        Args:
            path: as `ScoredImage` says, and those that follow.
            draw: makes the picture; not called where it is not kept.
        """
        if isnan(score):
            return
        image = ScoredImage(path, score, right, wrong, detail, b'')
        better = len(self._best) < self.count or _best_first(image) < _best_first(self._best[-1])
        worse = len(self._worst) < self.count or _worst_first(image) < _worst_first(self._worst[-1])
        if not (better or worse):
            return
        image = replace(image, picture=draw())
        if better:
            self._best = sorted([*self._best, image], key=_best_first)[: self.count]
        if worse:
            self._worst = sorted([*self._worst, image], key=_worst_first)[: self.count]

    def gather(self) -> tuple[list[ScoredImage], list[ScoredImage]]:
        """The best and the worst of all processes, no image in both; every process must call."""
        parts = all_gather_object((self._best, self._worst))
        # Of few images another process may have one too, to fill up its share.
        every = {image.path: image for part in parts for images in part for image in images}
        ordered = sorted(every.values(), key=_best_first)
        count = min(self.count, -(-len(ordered) // 2))
        rest = sorted(ordered[count:], key=_worst_first)
        return ordered[:count], rest[: self.count]


def _best_first(image: ScoredImage) -> tuple[float, int, str]:
    return -image.score, -image.right, image.path


def _worst_first(image: ScoredImage) -> tuple[float, int, str]:
    return image.score, -image.wrong, image.path
