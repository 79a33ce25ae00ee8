"""Scores of classes, a few rows of pixels at a time.

The class maps of a large image do not fit into memory at once: 150 classes of 4000 x 3000 pixels
are 7.2 GB, and resizing, summing and normalising them makes copies. What they are computed from is
small: what a head gives at stride 4, before it is enlarged. Here that is kept, and rows of the
final scores are made of it when they are asked for, with the arithmetic of the whole: the places
and weights of `F.interpolate`, sums over windows in their order. What differs is the last bit.

Rows are asked for from one end to the other; what windows gave is dropped behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

STRIP_BYTES = 2**25  # of the scores that are made at once


class Scores(Protocol):
    """Maps of classes (C, H, W), by rows."""

    shape: tuple[int, int, int]

    def rows(self, start: int, stop: int) -> Tensor:
        """(C, stop - start, W), at least float32."""


class Held:
    """Scores (C, H, W) that are in memory."""

    def __init__(self, data: Tensor) -> None:
        self.data, self.shape = data, tuple(data.shape)

    def rows(self, start: int, stop: int) -> Tensor:
        """(C, stop - start, W)."""
        part = self.data[:, start:stop]
        return part.float() if part.dtype in (torch.float16, torch.bfloat16) else part


class Resized:
    """Scores brought to another size, bilinearly."""

    def __init__(self, scores: Scores, size: Sequence[int], *, align_corners: bool) -> None:
        self.scores, self.align_corners = scores, bool(align_corners)
        self.shape = (scores.shape[0], int(size[0]), int(size[1]))

    def rows(self, start: int, stop: int) -> Tensor:
        """(C, stop - start, W)."""
        height, width = self.shape[1:]
        if self.scores.shape[1:] == (height, width):
            return self.scores.rows(start, stop)
        above, below, share = self._places(start, stop)
        first = int(above[0])
        known = self.scores.rows(first, int(below[-1]) + 1)
        if known.shape[-1] != width:
            size = (known.shape[1], width)
            known = F.interpolate(
                known[None], size, mode='bilinear', align_corners=self.align_corners
            )[0]
        if self.scores.shape[1] == height:
            return known
        above, below = (rows.to(known.device) - first for rows in (above, below))
        share = share.to(known)[:, None]
        lower = known.index_select(1, below).mul_(share)
        return lower.addcmul_(known.index_select(1, above), 1 - share)

    def _places(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Between which rows each row lies, and its share of the lower one.

        `F.interpolate` reckons in float32, where the product is not rounded before the half is
        subtracted: double precision holds it.
        """
        before, after = self.scores.shape[1], self.shape[1]
        rows = torch.arange(start, stop, dtype=torch.float64)
        if self.align_corners:
            scale = torch.tensor((before - 1) / (after - 1) if after > 1 else 0.0).float()
            source = (rows * scale.double()).float()
        else:
            scale = torch.tensor(before / after).float()
            source = ((rows + 0.5) * scale.double() - 0.5).float().clamp(min=0)
        above = source.long().clamp(max=before - 1)
        return above, (above + 1).clamp(max=before - 1), source - above


class OfMasks:
    """Scores that masks of queries, times their classes, add up to.

    Args:
        classes: (Q, C) probabilities.
        masks: logits, (Q, H, W).
    """

    def __init__(self, classes: Tensor, masks: Scores) -> None:
        self.classes, self.masks = classes, masks
        self.shape = (classes.shape[1], *masks.shape[1:])

    def rows(self, start: int, stop: int) -> Tensor:
        """(C, stop - start, W)."""
        found = torch.einsum('qc,qhw->chw', self.classes, self.masks.rows(start, stop).sigmoid())
        return Held(found).rows(0, stop - start)


class Cut:
    """Scores without the padding at their sides, and turned back.

    Args:
        padding: left, right, top, bottom.
        flipped: -1 for left to right, -2 for up to down.
    """

    def __init__(
        self, scores: Scores, padding: Sequence[int], *, flipped: Sequence[int] = ()
    ) -> None:
        left, right, self.top, bottom = (int(side) for side in padding)
        channels, height, width = scores.shape
        self.scores, self.flipped = scores, tuple(flipped)
        self.columns = slice(left, width - right)
        self.shape = (channels, height - self.top - bottom, width - left - right)

    def rows(self, start: int, stop: int) -> Tensor:
        """(C, stop - start, W)."""
        if -2 in self.flipped:
            start, stop = self.shape[1] - stop, self.shape[1] - start
        part = self.scores.rows(self.top + start, self.top + stop)[..., self.columns]
        return part.flip(self.flipped) if self.flipped else part


class Box(NamedTuple):
    """A window's place, in pixels."""

    top: int
    left: int
    bottom: int
    right: int


def window_boxes(size: Sequence[int], crop: Sequence[int], stride: Sequence[int]) -> list[Box]:
    """Windows over an image (H, W), in MMSegmentation's order: the last ones end with the image."""
    ends = [
        [
            min(index * step + side, length)
            for index in range(max(length - side + step - 1, 0) // step + 1)
        ]
        for length, side, step in zip(size, crop, stride, strict=True)
    ]
    return [
        Box(max(bottom - crop[0], 0), max(right - crop[1], 0), bottom, right)
        for bottom in ends[0]
        for right in ends[1]
    ]


class Windows:
    """What a model says of the windows over a batch of images, each computed when it is needed.

    Args:
        boxes: of the windows.
        compute: scores of a window, for each image of the batch.
        shape: (B, C, H, W) of the images' scores.
    """

    def __init__(
        self,
        boxes: Sequence[Box],
        compute: Callable[[Box], Sequence[Scores]],
        shape: Sequence[int],
    ) -> None:
        self.boxes, self.compute, self.shape = boxes, compute, tuple(shape)
        self._found: list[dict[Box, Scores]] = [{} for _ in range(self.shape[0])]
        self._last: list[set[Box]] = [set() for _ in range(self.shape[0])]

    def scores(self) -> list[Scores]:
        """The mean over the windows, for each image."""
        return [WindowMean(self, image) for image in range(self.shape[0])]

    def over(self, image: int, start: int, stop: int) -> dict[Box, Scores]:
        """The windows over rows of an image; what it has of those that are left is dropped."""
        boxes = [box for box in self.boxes if box.top < stop and box.bottom > start]
        found = self._found[image]
        for box in self._last[image].difference(boxes):
            del found[box]
        self._last[image] = set(boxes)
        for box in boxes:
            if box not in found:
                for known, scores in zip(self._found, self.compute(box), strict=True):
                    known[box] = scores
        return {box: found[box] for box in boxes}


class WindowMean:
    """Scores of an image, the mean over its windows."""

    def __init__(self, windows: Windows, image: int) -> None:
        self.windows, self.image = windows, image
        self.shape = windows.shape[1:]

    def rows(self, start: int, stop: int) -> Tensor:
        """(C, stop - start, W)."""
        total = count = None
        for box, scores in self.windows.over(self.image, start, stop).items():
            top, bottom = max(box.top, start), min(box.bottom, stop)
            part = scores.rows(top - box.top, bottom - box.top)
            if total is None:
                total = part.new_zeros(self.shape[0], stop - start, self.shape[2])
                count = part.new_zeros(stop - start, self.shape[2])
            place = (..., slice(top - start, bottom - start), slice(box.left, box.right))
            total[place] += part
            count[place] += 1
        return total.div_(count)


def label_map(views: Sequence[Scores], *, threshold: float | None = None) -> Tensor:
    """The class of each pixel.

    Args:
        views: one image's scores, or those of several views of it, whose probabilities are added.
        threshold: of a single class.

    Returns:
        (1, H, W), int64; of the scores' type for a single class.
    """
    channels, height, width = views[0].shape
    number = max(1, STRIP_BYTES // (4 * channels * width))
    labels = None
    for start in range(0, height, number):
        stop = min(start + number, height)
        total = None
        for view in views:
            scores = view.rows(start, stop)
            if channels == 1:
                scores = scores.sigmoid()
            elif len(views) > 1:
                scores = scores.softmax(dim=0)
            total = scores if total is None else total.add_(scores)
        if channels == 1:
            found = (total / len(views) > threshold).to(total)
        else:
            found = total.argmax(dim=0, keepdim=True)
        if labels is None:
            labels = found.new_empty(1, height, width)
        labels[:, start:stop] = found
    return labels
