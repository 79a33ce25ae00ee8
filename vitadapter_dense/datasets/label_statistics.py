"""What the values of all label maps of a split say: how often each class occurs, and what is odd.

The usual mistakes are classes numbered from 1 where the config counts from 0 (or the reverse), and
255, which is ignored, for the only class of a mask.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .check_image_files import warn_of_turns
from .check_segmentation import Findings, Split, explain_unlabelled
from .load_seg_map import IGNORED
from .problems import Problems

_RARE = 1e-4  # of the labelled pixels
_MOSTLY_IGNORED = 0.5


@dataclasses.dataclass
class LabelStatistics:
    """Counts over a split; `add` takes one pair after the other.

    Attributes:
        split: what is counted.
        pixels: (256,) int64, how often each value of the files occurs.
        images: (256,) int64, in how many files.
        examples: the first file with each value that is no class.
        problems: what makes pairs unusable.
        turned: images with an EXIF orientation.
    """

    split: Split
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    examples: dict[int, str] = dataclasses.field(default_factory=dict)
    problems: Problems = dataclasses.field(default_factory=Problems)
    turned: list[str] = dataclasses.field(default_factory=list)

    def add(self, pair: tuple[str, str | None], findings: Findings) -> None:
        """Count one image and its map."""
        if findings.problem:
            self.problems.add(findings.kind, findings.problem)
            return
        if findings.turned:
            self.turned.append(pair[0])
        self.pixels += findings.pixels
        self.images += findings.pixels > 0
        for value in np.flatnonzero(findings.pixels * ~self.split.allowed):
            self.examples.setdefault(int(value), str(pair[1]))

    def by_class(self) -> list[tuple[str, int, int]]:
        """`(name, pixels, images)` of every class, in their order."""
        counted = zip(self.split.classes, self.split.values, strict=True)
        return [(name, int(self.pixels[v]), int(self.images[v])) for name, v in counted]

    def errors(self) -> list[str]:
        """What would end or spoil a training."""
        found = self.problems.lines()
        for value, file in self.examples.items():
            found.append(
                f'value {value} is no class: {self.pixels[value]} pixels in '
                f'{self.images[value]} files, first {file}'
            )
        return [*found, *self._numbering()]

    def warnings(self) -> list[str]:
        """What a training survives and its result may not."""
        found = [*self.split.left_out, *self._without_zero()]
        if self.turned:
            found.append(warn_of_turns(len(self.turned), self.turned[0]))
        total, ignored = self.pixels.sum(), self._ignored()
        if total and ignored / total > _MOSTLY_IGNORED:
            found.append(f'{ignored / total:.0%} of the pixels are ignored')
        counted = self.by_class()
        labelled = max(1, sum(pixels for _, pixels, _ in counted))
        absent = [name for name, pixels, _ in counted if not pixels]
        rare = [f'{name} ({p} pixels)' for name, p, _ in counted if 0 < p / labelled < _RARE]
        if absent:
            found.append(f'classes that never occur ({len(absent)}): {_listed(absent)}')
        if rare:
            share = f'{_RARE:.2%} of the pixels'
            found.append(f'classes with less than {share} ({len(rare)}): {_listed(rare)}')
        return found

    def _without_zero(self) -> list[str]:
        """The numbering that no range of values shows: 0 never occurs, where it should."""
        if not self.pixels.any() or self.pixels[0] or self._numbering():
            return []
        if self.split.known != len(self.split.classes):  # some of the files' classes are used
            return []
        if self.split.first:
            return [
                'no pixel is 0, which reduce_zero_label ignores: if the classes are numbered from '
                '0, every class is shifted (Mend: reduce_zero_label=False)'
            ]
        return [
            'no pixel is 0, the first class: if the classes are numbered from 1, every class is '
            'shifted (Mend: reduce_zero_label=True)'
        ]

    def _ignored(self) -> int:
        return int(self.pixels.sum() - self.pixels[list(self.split.values)].sum())

    def _numbering(self) -> list[str]:
        """Guesses from the values that occur at all; nothing when they look right."""
        seen = set(np.flatnonzero(self.pixels).tolist()) - {IGNORED}
        number, first = self.split.known, self.split.first
        unlabelled = explain_unlabelled(self.split, self.pixels)
        if unlabelled:
            return [unlabelled]
        if not seen or number != len(self.split.classes):
            return []
        if first == 0 and number in seen and 0 not in seen:
            return [
                f'the values run from {min(seen)} to {max(seen)}: the classes seem to be numbered '
                'from 1. Mend: reduce_zero_label=True in the data set'
            ]
        if first == 0 and number in seen:
            return [
                f'the values run from 0 to {max(seen)}, for {number} classes: either 0 is '
                "'other' (Mend: reduce_zero_label=True, which ignores it), or a class has no name "
                '(Mend: name it in metainfo.classes)'
            ]
        if first == 1 and 0 in seen and max(seen) == number - 1:
            return [
                f'the values run from 0 to {max(seen)}, but with reduce_zero_label the {number} '
                f'classes are 1 to {number}: 0 ({self.pixels[0]} pixels) would be ignored and '
                'every class shifted. Mend: reduce_zero_label=False, if 0 is the first class'
            ]
        return []


def _listed(names: list[str], shown: int = 8) -> str:
    return ', '.join(names[:shown]) + (', ...' if len(names) > shown else '')
