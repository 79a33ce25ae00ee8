"""``SingleShapes``: a generated classification set, one patterned shape a picture, of 25 classes.

A class is an outline with a pattern, `circle-dots`: five outlines times the five patterns of the
generated scenes, with their backgrounds and colours. Nothing lies on the disk; a picture is drawn
when it is loaded, from its own random state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.registry import DATASETS, TRANSFORMS

from .classification import ClassificationDataset
from .errors import DatasetError
from .shapes_patterns import SHAPES
from .shapes_scene import render_single

#: pattern of each class of the scenes, by the name under which it is combined with all outlines
PATTERNS = dict(rings='circle', checker='square', stripes='triangle', dots='star', zigzag='cross')
#: outline-pattern; neighbours share neither, so that any few in a row are told apart by both
SINGLE_SHAPES: tuple[str, ...] = tuple(
    f'{outline}-{list(PATTERNS)[(number + shift) % len(PATTERNS)]}'
    for shift in range(len(PATTERNS))
    for number, outline in enumerate(SHAPES)
)


@DATASETS.register_module()
class SingleShapes(ClassificationDataset):
    """Pictures of single shapes, as many of each class. Its pipeline begins with `DrawShape`.

    Args:
        per_class: pictures of each class.
        classes: names out of `SINGLE_SHAPES`.
        size: side of a picture in pixels.
        variety: share of the turns, colours, periods, noise and background of the scenes; 1: all.
        seed: of all pictures; another one gives other pictures.
        **options: of MMEngine's `BaseDataset` (`pipeline`, `indices`, ...).

    Raises:
        DatasetError: a name that is none of them.
    """

    def __init__(
        self,
        per_class: int,
        *,
        classes: Sequence[str] = SINGLE_SHAPES,
        size: int = 64,
        variety: float = 1.0,
        seed: int = 0,
        **options: Any,
    ) -> None:
        unknown = [name for name in classes if name not in SINGLE_SHAPES]
        if unknown:
            raise DatasetError(
                f'{unknown[0]!r} is no single shape; there are {", ".join(SINGLE_SHAPES)}'
            )
        if not 0 <= variety <= 1:
            raise DatasetError(f'SingleShapes(variety={variety}): it is a share, 0 to 1')
        self.per_class, self.size, self.seed, self.variety = per_class, size, seed, variety
        super().__init__(metainfo=dict(classes=tuple(classes)), **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry a picture: what it is drawn from."""
        return [
            dict(
                drawn=(self.seed, SINGLE_SHAPES.index(name), number),
                size=self.size,
                variety=self.variety,
                gt_label=label,
            )
            for number in range(self.per_class)
            for label, name in enumerate(self.metainfo['classes'])
        ]


@TRANSFORMS.register_module()
class DrawShape:
    """Draws the picture of a sample of `SingleShapes`: `img` (size, size, 3) uint8, BGR.

    Args:
        keep: keep the pictures in memory, so that a process draws each of them once.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._kept: dict[tuple, np.ndarray] | None = {} if keep else None

    def __call__(self, results: dict) -> dict:
        """Draws `results['drawn']`."""
        key = (results['drawn'], results['size'], results['variety'])
        image = None if self._kept is None else self._kept.get(key)
        if image is None:
            image = self._draw(results)
            if self._kept is not None:
                self._kept[key] = image
        results['img'] = image.copy()
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _draw(self, results: dict) -> np.ndarray:
        outline, pattern = SINGLE_SHAPES[results['drawn'][1]].split('-')
        return render_single(
            np.random.default_rng(results['drawn']),
            SHAPES[outline][0],
            SHAPES[PATTERNS[pattern]][1],
            side=results['size'],
            variety=results['variety'],
        )
