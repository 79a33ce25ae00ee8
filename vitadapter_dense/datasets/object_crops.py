"""``ObjectCrops``: the objects of a COCO file as a classification set, cut out of their images."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS, TRANSFORMS

from .classification import ClassificationDataset
from .errors import DatasetError
from .loading import LoadImageChecked


@DATASETS.register_module()
class ObjectCrops(ClassificationDataset):
    """Objects of a COCO file with their categories as labels; crowds are left out.

    The pipeline begins with `LoadImageCrop`, which cuts `crop` out of the image. Boxes are cut off
    at the image's border, and objects that are then too small are left out.

    Args:
        ann_file: COCO file, from `data_root`.
        metainfo: `classes`, names of categories in the order of their labels; objects of others are
            left out. Default: all categories, in the file's order.
        data_prefix: `img`, the folder of the images, from `data_root`.
        min_size: least width and least height in pixels.
        margin: share of the box's longer side that is added on each side, as far as the image goes.
        **options: of MMEngine's `BaseDataset` (`data_root`, `pipeline`, `indices`, ...).

    Raises:
        DatasetError: when it is filled, for a file that cannot be used, or without objects.
    """

    def __init__(
        self,
        ann_file: str,
        *,
        metainfo: dict[str, Any] | None = None,
        data_prefix: dict[str, str] | None = None,
        min_size: int = 24,
        margin: float = 0.0,
        **options: Any,
    ) -> None:
        if min_size < 1 or margin < 0:
            raise DatasetError(
                f'ObjectCrops(min_size={min_size}, margin={margin}): 1 pixel at least, and no '
                'negative margin'
            )
        self.min_size, self.margin = min_size, margin
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_prefix=dict(data_prefix or dict(img='')),
            **options,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry an object."""
        try:
            content = json.loads(Path(self.ann_file).read_text(encoding='utf-8'))
            names = {one['id']: one['name'] for one in content['categories']}
            if 'classes' not in self._metainfo:
                self._metainfo['classes'] = tuple(names.values())
            found = list(self._objects(content, names))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f'{self.ann_file} is no COCO file of objects: {type(error).__name__} {error}'
            ) from error
        if not found:
            raise DatasetError(
                f'{self.ann_file} has no object of {self.min_size} pixels or more of the classes '
                f'{", ".join(self._metainfo["classes"][:8])}. Mend: min_size, or metainfo.classes'
            )
        return found

    def _objects(self, content: dict[str, Any], names: dict[int, str]) -> Iterator[dict[str, Any]]:
        images = {image['id']: image for image in content['images']}
        labels = {name: label for label, name in enumerate(self._metainfo['classes'])}
        unknown = [name for name in labels if name not in names.values()]
        if unknown:
            raise ValueError(f'it has no category {unknown[0]!r}')
        for one in content['annotations']:
            label = labels.get(names.get(one['category_id'], ''))
            if label is None or one.get('iscrowd'):
                continue
            image = images[one['image_id']]
            size = (image['width'], image['height'])
            crop = cut_out(one['bbox'], size, margin=0.0)
            if min(crop[2] - crop[0], crop[3] - crop[1]) >= self.min_size:
                yield dict(
                    img_path=os.path.join(self.data_prefix['img'], image['file_name']),
                    img_id=image['id'],
                    width=image['width'],
                    height=image['height'],
                    crop=cut_out(one['bbox'], size, margin=self.margin),
                    gt_label=label,
                )


def cut_out(box: list[float], size: tuple[int, int], *, margin: float) -> tuple[int, int, int, int]:
    """Whole pixels x1, y1, x2, y2 of a box x, y, width, height within an image (width, height).

    They hold the whole box and its margin, as far as the image goes.
    """
    x, y, width, height = box
    if not all(math.isfinite(value) for value in box):
        return 0, 0, 0, 0
    more = margin * max(width, height)
    left, top = (max(0, math.floor(start - more)) for start in (x, y))
    right = min(size[0], math.ceil(x + width + more))
    bottom = min(size[1], math.ceil(y + height + more))
    return left, top, max(left, right), max(top, bottom)


@TRANSFORMS.register_module()
class LoadImageCrop(LoadImageChecked):
    """As `LoadImageChecked`, and cuts `results['crop']` out, if there is one.

    `img_shape` and `ori_shape` are then those of the crop.
    """

    def __call__(self, results: dict) -> dict:
        results = super().__call__(results)
        if results.get('crop') is not None:
            left, top, right, bottom = results['crop']
            results['img'] = np.ascontiguousarray(results['img'][top:bottom, left:right])
            results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results
