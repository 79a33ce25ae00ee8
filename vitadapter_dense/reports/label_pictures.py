"""Pictures of label maps: class colours over the image, and a legend of the classes below it.

MMSegmentation's visualizer writes class names into the map itself, where they hide small segments,
and paints what is ignored black; here every segment stays visible and what is ignored stays image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image, ImageDraw
from torch import Tensor

from vitadapter_dense.reports.picture_style import (
    ALPHA,
    GROUND_TRUTH,
    PREDICTION,
    font,
    side_by_side,
)

_ROW, _SWATCH, _GAP = 22, 14, 8  # pixels


def draw_label_map(
    image: np.ndarray,
    labels: np.ndarray,
    palette: Sequence[Sequence[int]],
    *,
    segments: np.ndarray | None = None,
    alpha: float = ALPHA,
) -> np.ndarray:
    """Lay the colours of the classes over an image, each segment with an outline.

    Args:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) class numbers; where there is no such class, the image stays as it is.
        palette: a colour (red, green, blue; 0 to 255) for each class.
        segments: (H, W) what is outlined; default: the labels.
        alpha: how much of the colour is seen, 0 to 1.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    if labels.shape != image.shape[:2]:
        raise ValueError(f'labels of shape {labels.shape} for an image of {image.shape[:2]}')
    known = (labels >= 0) & (labels < len(palette))
    colours = np.asarray(palette, np.float32)[np.where(known, labels, 0)]
    alphas = np.where(_outlines(labels if segments is None else segments), 1, alpha)[..., None]
    mixed = image * (1 - alphas) + colours * alphas
    return np.where(known[..., None], mixed.round(), image).astype(np.uint8)


def _outlines(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool, the pixels of a segment that meet another one to the right or below."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def draw_legend(
    shares: Mapping[int, float],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    *,
    width: int,
) -> np.ndarray:
    """Draw a colour, a name and a share for each class, in rows that wrap.

    Args:
        shares: class number to share of the pixels, 0 to 1; drawn in this order.
        width: of the legend in pixels; an entry wider than that is cut off.

    Returns:
        (rows * 22, width, 3) uint8, RGB, dark on white; no row without a class.
    """
    entries = _entries(shares, classes)
    places, x, row = [], _GAP, 0
    for _, text in entries:
        needed = _needed(text)
        if x > _GAP and x + needed > width:
            x, row = _GAP, row + 1
        places.append((x, row * _ROW))
        x += needed
    height = (row + 1) * _ROW if entries else 0
    if not height:
        return np.full((0, width, 3), 255, np.uint8)
    picture = Image.new('RGB', (width, height), 'white')
    draw = ImageDraw.Draw(picture)
    for (number, text), (left, top) in zip(entries, places, strict=True):
        box = (left, top + 4, left + _SWATCH, top + 4 + _SWATCH)
        draw.rectangle(box, fill=tuple(int(value) for value in palette[number]), outline='black')
        draw.text((left + _SWATCH + _GAP // 2, top + 3), text, fill='black', font=font(text))
    return np.asarray(picture)


def legend_width(shares: Mapping[int, float], classes: Sequence[str]) -> int:
    """The least width in pixels at which `draw_legend` cuts no entry off."""
    return max((_GAP + _needed(text) for _, text in _entries(shares, classes)), default=0)


def _entries(shares: Mapping[int, float], classes: Sequence[str]) -> list[tuple[int, str]]:
    return [(number, f'{classes[number]} {share:.1%}') for number, share in shares.items()]


def _needed(text: str) -> int:
    """Pixels from one entry of a row to the next."""
    length = font(text).getlength(text)
    return _SWATCH + _GAP // 2 + int(length) + 2 * _GAP


def draw_segmentation(
    image: np.ndarray,
    sample: BaseDataElement,
    dataset_meta: Mapping[str, Any],
    *,
    ground_truth: bool,
    prediction: bool,
) -> np.ndarray:
    """Draw the label maps of a data sample, side by side, ground truth on the left.

    Args:
        image: (H, W, 3) uint8, RGB, of the maps' size.
        sample: with `gt_sem_seg`, `pred_sem_seg` or both.
        dataset_meta: `classes` and, where they have colours, `palette`.
        ground_truth: whether to draw `gt_sem_seg` if it is there.
        prediction: whether to draw `pred_sem_seg` if it is there.

    Returns:
        (H + legend, n * W, 3) uint8, RGB, wider where an entry of the legend is, and 22 higher
        where two maps have a title each; the image alone if there is nothing to draw.
    """
    classes, palette = dataset_meta['classes'], full_palette(dataset_meta)
    wanted = (
        (GROUND_TRUTH, 'gt_sem_seg', ground_truth),
        (PREDICTION, 'pred_sem_seg', prediction),
    )
    maps = {
        title: label_map(sample.get(name).data, image.shape[:2])
        for title, name, asked in wanted
        if asked and name in sample
    }
    drawn = {title: draw_label_map(image, labels, palette) for title, labels in maps.items()}
    return with_legend(drawn, list(maps.values()), classes, palette) if maps else image


def with_legend(
    pictures: dict[str, np.ndarray],
    maps: Sequence[np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> np.ndarray:
    """Put pictures side by side, with a legend of the classes below them.

    Args:
        pictures: (H, W, 3) uint8, RGB, by their titles.
        maps: (H, W) the class numbers of each.
        classes: their names.
        palette: their colours.
    """
    drawn = side_by_side(pictures)
    shares = _shares(maps, len(classes))
    width = max(drawn.shape[1], legend_width(shares, classes))
    margin = ((0, 0), (0, width - drawn.shape[1]), (0, 0))
    drawn = np.pad(drawn, margin, constant_values=255)
    return np.vstack([drawn, draw_legend(shares, classes, palette, width=width)])


def _shares(maps: Sequence[np.ndarray], num_classes: int) -> dict[int, float]:
    """Class number -> share of the last map, over all classes of any map, the largest first."""
    known = [labels[(labels >= 0) & (labels < num_classes)] for labels in maps]
    counts = [np.bincount(labels, minlength=num_classes) for labels in known]
    seen = np.flatnonzero(np.sum(counts, axis=0))
    shares = counts[-1] / maps[-1].size
    return {int(number): float(shares[number]) for number in sorted(seen, key=lambda n: -shares[n])}


def label_map(data: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Class numbers (H, W), int64, of a map that a segmentor or an annotation gives.

    One output channel behind a sigmoid gives its classes 0 and 1 as floating-point numbers.
    """
    return data.cpu().numpy().reshape(shape).astype(np.int64)


def full_palette(dataset_meta: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """A colour for each class: the data set's own, and always the same ones for those without."""
    own = dataset_meta.get('palette')
    # The toolboxes know palettes by name too ('random').
    own = [] if own is None or isinstance(own, str) else [tuple(colour) for colour in own]
    drawn = np.random.default_rng(0).integers(30, 226, (len(dataset_meta['classes']), 3))
    return [*own, *map(tuple, drawn[len(own) :].tolist())]


def is_segmentation(sample: BaseDataElement) -> bool:
    """Whether a data sample carries label maps of a segmentor (and no instances)."""
    names = set(sample.keys())
    return bool(names & {'gt_sem_seg', 'pred_sem_seg'}) and not names & {
        'gt_instances',
        'pred_instances',
    }
