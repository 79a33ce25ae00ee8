"""Pictures of classified images: below the image what it is, and what it was taken for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image, ImageDraw

from vitadapter_dense.reports.picture_style import FONT_SIZE, GROUND_TRUTH, PREDICTION, font

_SHOWN = 3  # classes of a prediction
_LINE = FONT_SIZE + 6
_GAP = 6


def has_label(sample: BaseDataElement) -> bool:
    """Whether a data sample is one of a classifier."""
    return 'pred_score' in sample or 'gt_label' in sample


def draw_classes(
    image: np.ndarray,
    sample: BaseDataElement,
    dataset_meta: Mapping[str, Any],
    *,
    ground_truth: bool,
    prediction: bool,
) -> np.ndarray:
    """Write the classes of a data sample below its image, the likeliest three with their scores.

    Args:
        image: (H, W, 3) uint8, RGB.
        sample: with `gt_label`, `pred_score` or both.
        dataset_meta: `classes`.
        ground_truth: whether to write `gt_label` if it is there.
        prediction: whether to write `pred_score` if it is there.

    Returns:
        (H + lines, W, 3) uint8, RGB, wider where a line is; a wrong first class is red.
    """
    classes = dataset_meta['classes']
    truth = sample.gt_label.tolist() if ground_truth and 'gt_label' in sample else []
    lines = []
    if truth:
        lines.append((f'{GROUND_TRUTH}: {", ".join(classes[label] for label in truth)}', 'black'))
    if prediction and 'pred_score' in sample:
        scores = sample.pred_score.cpu().float().numpy()
        order = np.argsort(-scores, kind='stable')[:_SHOWN]
        wrong = truth and order[0] not in truth
        text = ', '.join(f'{classes[label]} {scores[label]:.0%}' for label in order)
        lines.append((f'{PREDICTION}: {text}', 'red' if wrong else 'black'))
    return _below(image, lines) if lines else image


def _below(image: np.ndarray, lines: Sequence[tuple[str, str]]) -> np.ndarray:
    longest = max(font(text).getlength(text) for text, _ in lines)
    width = max(image.shape[1], int(longest) + 2 * _GAP)
    band = Image.new('RGB', (width, _LINE * len(lines) + _GAP), 'white')
    for number, (text, colour) in enumerate(lines):
        place = (_GAP, _GAP // 2 + _LINE * number)
        ImageDraw.Draw(band).text(place, text, fill=colour, font=font(text))
    margin = ((0, 0), (0, width - image.shape[1]), (0, 0))
    return np.vstack([np.pad(image, margin, constant_values=255), np.asarray(band)])
