"""Pictures of instances: outlines, masks through which the image is seen, names beside the boxes.

MMDetection's visualizer gives each object another shade of its class's colour, paints masks nearly
opaque, and writes names over objects; here a class has one colour, and a name stands outside of its
box where there is room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from PIL import Image, ImageDraw
from torch import Tensor

from vitadapter_dense.reports.label_pictures import full_palette
from vitadapter_dense.reports.picture_style import (
    ALPHA,
    FONT_SIZE,
    GROUND_TRUTH,
    PREDICTION,
    font,
    side_by_side,
)

_HIGH = FONT_SIZE + 3  # of a name
TITLES = {'gt_instances': GROUND_TRUTH, 'pred_instances': PREDICTION}


def has_instances(sample: BaseDataElement) -> bool:
    """Whether a data sample is one of a detector."""
    return any(name in sample for name in TITLES)


def draw_detection(
    image: np.ndarray,
    sample: BaseDataElement,
    dataset_meta: Mapping[str, Any],
    *,
    score_thr: float,
    alpha: float = ALPHA,
    ground_truth: bool = True,
    prediction: bool = True,
) -> np.ndarray:
    """Draws the instances of a data sample, ground truth on the left.

    Args:
        image: (H, W, 3) uint8, RGB, of the size that boxes and masks refer to.
        sample: with `gt_instances`, `pred_instances` or both.
        dataset_meta: `classes` and, where they have colours, `palette`.
        score_thr: predictions with a lower score are left out.
        alpha: how much of the colour of a mask is seen, 0 to 1.
        ground_truth: whether to draw `gt_instances` if they are there.
        prediction: whether to draw `pred_instances` if they are there.

    Returns:
        (H, W, 3) uint8, RGB; two side by side have a title each, (22 + H, 2 * W, 3).
    """
    asked = dict(gt_instances=ground_truth, pred_instances=prediction)
    shown = [name for name in TITLES if asked[name] and name in sample]
    options = dict(score_thr=score_thr, alpha=alpha)
    drawn = {
        TITLES[name]: draw_instances(image, sample.get(name), dataset_meta, **options)
        for name in shown
    }
    return side_by_side(drawn) if drawn else image


def draw_instances(
    image: np.ndarray,
    instances: InstanceData,
    dataset_meta: Mapping[str, Any],
    *,
    score_thr: float = 0.0,
    alpha: float = ALPHA,
) -> np.ndarray:
    """Draws instances over an image, those of the highest scores last.

    Args:
        image: (H, W, 3) uint8, RGB.
        instances: `labels`, and as far as there are any `bboxes`, `masks` and `scores`.
        dataset_meta: `classes` and, where they have colours, `palette`.
        score_thr: instances with a lower score are left out.
        alpha: how much of the colour of a mask is seen, 0 to 1.
    """
    labels = _array(instances.labels)
    scores = _array(instances.scores) if 'scores' in instances else None
    order = np.arange(len(labels)) if scores is None else np.argsort(scores, kind='stable')
    chosen = [int(n) for n in order if scores is None or scores[n] >= score_thr]
    palette, names = full_palette(dataset_meta), dataset_meta['classes']
    picture = image.copy(order='C')
    if 'masks' in instances:
        masks = mask_array(instances.masks)
        for number in chosen:
            _draw_mask(picture, masks[number], palette[labels[number]], alpha)
    boxes = _boxes(instances, chosen)
    width = 1 + max(picture.shape[:2]) // 600
    for number, box in boxes.items():
        corners = box.round().astype(int).tolist()
        colour = tuple(map(int, palette[labels[number]]))
        cv2.rectangle(picture, corners[:2], corners[2:], colour, width)
    texts = {
        number: names[labels[number]] + ('' if scores is None else f' {scores[number]:.2f}')
        for number in boxes
    }
    return _with_names(picture, boxes, texts, {n: palette[labels[n]] for n in boxes})


def _draw_mask(picture: np.ndarray, mask: np.ndarray, colour: Sequence[int], alpha: float) -> None:
    mixed = picture[mask] * (1 - alpha) + np.asarray(colour, np.float32) * alpha
    picture[mask] = mixed.round().astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, tuple(map(int, colour)), 1)


def _with_names(
    picture: np.ndarray,
    boxes: Mapping[int, np.ndarray],
    texts: Mapping[int, str],
    colours: Mapping[int, Sequence[int]],
) -> np.ndarray:
    """Writes each name above its box, or below, or in it: where it fits and hides no other."""
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    taken: list[tuple[int, int, int, int]] = []
    for number, box in reversed(boxes.items()):  # the surest first
        text = texts[number]
        wide = int(draw.textlength(text, font=font(text))) + 4
        left = min(max(int(box[0]), 0), max(canvas.width - wide, 0))
        heights = (int(box[1]) - _HIGH, int(box[3]) + 1, max(int(box[1]), 0))
        places = [
            (left, top, left + wide, top + _HIGH)
            for top in heights
            if 0 <= top <= canvas.height - _HIGH
        ] or [(left, 0, left + wide, _HIGH)]
        place = next((p for p in places if not any(_meet(p, q) for q in taken)), places[0])
        taken.append(place)
        colour = tuple(map(int, colours[number]))
        draw.rectangle(place, fill=colour)
        ink = 'black' if np.dot(colour, (0.299, 0.587, 0.114)) > 128 else 'white'
        draw.text((place[0] + 2, place[1] + 1), text, fill=ink, font=font(text))
    return np.asarray(canvas)


def _meet(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _boxes(instances: InstanceData, chosen: Sequence[int]) -> dict[int, np.ndarray]:
    """Boxes (x1, y1, x2, y2) by the number of their instance; none where a model gives none."""
    if 'bboxes' not in instances:
        return {}
    boxes = _array(getattr(instances.bboxes, 'tensor', instances.bboxes))
    return {number: boxes[number] for number in chosen if np.ptp(boxes[number]) > 0}


def mask_array(masks: Any) -> np.ndarray:
    """(N, H, W) bool of a tensor or of the toolbox's own masks."""
    array = _array(masks) if isinstance(masks, (Tensor, np.ndarray)) else masks.to_ndarray()
    return array.astype(bool, copy=False)


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    """The values on the CPU; NumPy has no bfloat16."""
    if not isinstance(values, Tensor):
        return values
    return (values.float() if values.is_floating_point() else values).cpu().numpy()
