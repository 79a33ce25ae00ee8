"""Small COCO data sets on disk, for the tests of what is looked for in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CLASSES = ('cat', 'dog')


def coco_content(boxes: Sequence[Sequence[float]], *, per_image: int = 1) -> dict[str, Any]:
    """One image of 100 x 80 for each `per_image` boxes, numbered from 1, with their rectangles."""
    number = -(-len(boxes) // per_image)
    annotations = []
    for index, (x, y, w, h) in enumerate(boxes):
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        shape = dict(bbox=[x, y, w, h], area=w * h, segmentation=[corners], iscrowd=0)
        ids = dict(id=index + 1, image_id=index // per_image + 1, category_id=index % 2 + 1)
        annotations.append({**ids, **shape})
    return dict(
        images=[dict(id=k + 1, file_name=f'{k}.jpg', width=100, height=80) for k in range(number)],
        annotations=annotations,
        categories=[dict(id=k + 1, name=name) for k, name in enumerate(CLASSES)],
    )


def write_coco(root: Path, split: str, content: dict[str, Any], *, seed: int = 0) -> dict:
    """Writes a split, its images unlike those of another seed; returns its data set's config."""
    generator = np.random.default_rng(seed)
    (root / split).mkdir(parents=True, exist_ok=True)
    for image in content['images']:
        shape = (image['height'], image['width'], 3)
        pixels = generator.integers(0, 255, shape, dtype=np.uint8)
        cv2.imwrite(str(root / split / image['file_name']), pixels)
    (root / f'{split}.json').write_text(json.dumps(content))
    return dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=f'{split}.json',
        data_prefix=dict(img=split),
        metainfo=dict(classes=CLASSES),
        pipeline=[],
    )
