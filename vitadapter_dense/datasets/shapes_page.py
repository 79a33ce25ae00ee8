"""A page of samples of a generated data set: what is on the disk, drawn for a person to look at."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np

from .errors import DatasetError
from .shapes import SHAPES_CLASSES, SHAPES_PALETTE

_MARGIN = 10
_CELL = 288


def draw_sample_page(
    data_root: str | os.PathLike, *, split: str = 'train', rows: int = 4, columns: int = 2
) -> np.ndarray:
    """Read the first `rows * columns` samples of a split and lay them out.

    A sample is three pictures side by side: the image, the image with masks, boxes and class names,
    and the semantic map. Below stands the legend.

    Returns:
        the page (H, W, 3), uint8, BGR.

    Raises:
        DatasetError: when the split has not been generated.
    """
    root = Path(data_root)
    file = root / 'annotations' / f'instances_{split}.json'
    if not file.is_file():
        raise DatasetError(
            f'{file} is missing: generate the set first (tools/dataset/make_shapes.py)'
        )
    coco = json.loads(file.read_text())
    by_image: dict[int, list[dict]] = {}
    for annotation in coco['annotations']:
        by_image.setdefault(annotation['image_id'], []).append(annotation)
    samples = [
        _draw_sample(root, split, info, by_image.get(info['id'], []))
        for info in coco['images'][: rows * columns]
    ]
    blank = np.full_like(samples[0], 255)
    samples += [blank] * (-len(samples) % columns)
    lines = [np.hstack(samples[i : i + columns]) for i in range(0, len(samples), columns)]
    return np.vstack([*lines, _legend(lines[0].shape[1])])


def _draw_sample(root: Path, split: str, info: dict, annotations: list[dict]) -> np.ndarray:
    from pycocotools import mask as coco_mask

    image = cv2.imread(str(root / split / info['file_name']))
    stem = Path(info['file_name']).stem
    semantic = cv2.imread(str(root / 'semantic' / split / f'{stem}.png'), cv2.IMREAD_UNCHANGED)
    if image is None or semantic is None:
        raise DatasetError(f'{root / split}: sample {stem} cannot be read; generate the set again')
    scale = _CELL / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    drawn = image.copy()
    for annotation in annotations:
        colour = _colour(annotation['category_id'] - 1)
        mask = cv2.resize(coco_mask.decode(annotation['segmentation']), size) > 0
        drawn[mask] = (0.55 * drawn[mask] + 0.45 * np.array(colour)).astype(np.uint8)
    for annotation in annotations:
        label = annotation['category_id'] - 1
        x, y, w, h = (round(value * scale) for value in annotation['bbox'])
        cv2.rectangle(drawn, (x, y), (x + w, y + h), _colour(label), 1)
        _write(drawn, SHAPES_CLASSES[label], (max(x, 0), max(y - 3, 10)), _colour(label))
    palette = np.array([(0, 0, 0), *(_colour(i) for i in range(len(SHAPES_CLASSES)))], np.uint8)
    coloured = cv2.resize(palette[semantic], size, interpolation=cv2.INTER_NEAREST)
    pictures = [
        cv2.copyMakeBorder(p, 0, 4, 0, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        for p in (image, drawn, coloured)
    ]
    border = (0, _MARGIN, 0, _MARGIN)
    return cv2.copyMakeBorder(np.hstack(pictures), *border, cv2.BORDER_CONSTANT, value=(255,) * 3)


def _legend(width: int) -> np.ndarray:
    strip = np.full((34, width, 3), 255, np.uint8)
    x = _MARGIN
    for label, name in enumerate(('background (0)', *SHAPES_CLASSES)):
        colour = (0, 0, 0) if label == 0 else _colour(label - 1)
        cv2.rectangle(strip, (x, 8), (x + 18, 26), colour, -1)
        text = name if label == 0 else f'{name} ({label})'
        _write(strip, text, (x + 24, 22), (0, 0, 0), outline=False)
        x += 60 + 8 * len(text)
    return strip


def _colour(label: int) -> tuple[int, int, int]:
    """The class's colour in BGR."""
    return SHAPES_PALETTE[label][::-1]


def _write(
    image: np.ndarray,
    text: str,
    origin: tuple[int, int],
    colour: tuple[int, int, int],
    *,
    outline: bool = True,
) -> None:
    font = cv2.FONT_HERSHEY_SIMPLEX
    if outline:
        cv2.putText(image, text, origin, font, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(image, text, origin, font, 0.42, colour, 1, cv2.LINE_AA)
