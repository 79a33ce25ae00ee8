"""What a whole split holds, read image by image: the classes' counts, errors and warnings.

`report_split` takes a data set config of either kind. What is quick to find is looked for before
every training (`check_coco.py`, `check_segmentation.py`); this reads all files.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .check_classes import find_broken, list_classified
from .check_image_files import warn_of_turns
from .check_panoptic import inspect_used_panoptic
from .check_segmentation import Findings, inspect_pair, list_split
from .coco_summary import key_of
from .dataset_configs import (
    UsedDataset,
    alone,
    check_layout,
    is_classification,
    is_coco,
    is_panoptic,
    is_remote,
    is_segmentation,
    kind,
    locate_coco,
)
from .decoding import ValueRange, decode_image
from .errors import DatasetError
from .image_headers import header_of
from .inspect_coco import inspect_used_coco
from .label_statistics import LabelStatistics
from .loading import other_size, value_range_of
from .problems import Problems
from .processes import map_in_processes

_FEW = 10  # annotations of a class


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """What one split holds.

    Attributes:
        name: folder of images or annotation file.
        files: the images that are listed.
        unit: what `classes` counts: pixels, annotations, segments or images.
        classes: name, count and number of images of every class, in their order.
        errors: what would end or spoil a training.
        warnings: what a training survives and its result may not.
    """

    name: str
    files: tuple[str, ...] = ()
    unit: str = 'pixels'
    classes: tuple[tuple[str, int, int], ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        return len(self.files)

    def imbalance(self) -> str:
        """The most and the least frequent class that occurs; empty with less than two."""
        total = sum(count for _, count, _ in self.classes)
        present = sorted((count, name) for name, count, _ in self.classes if count)
        if len(present) < 2:
            return ''
        (least, rare), (most, common) = present[0], present[-1]
        return (
            f'{common} has {100 * most / total:.3g}% of the {self.unit}, {rare} '
            f'{100 * least / total:.2g}%: {most / least:.3g} to 1'
        )


def report_split(
    dataset_cfg: Mapping[str, Any], *, workers: int = 1, used: UsedDataset | None = None
) -> SplitReport:
    """Read all files of a data set config: COCO, COCO panoptic, images and label maps, or labels.

    Args:
        dataset_cfg: of one data set, not of a wrapper around others.
        workers: processes that read.
        used: what the configuration needs the data set for; default: it stands alone.

    Returns:
        the report; a split that cannot be listed has an error and no counts.

    Raises:
        ValueError: for a data set of another kind.
    """
    known = (is_segmentation, is_classification, is_coco, is_panoptic)
    if not any(is_kind(dataset_cfg) for is_kind in known):
        raise ValueError(
            f'a data set of type {kind(dataset_cfg)} cannot be checked: it must be a CocoDataset '
            'or CocoPanopticDataset, one of classification (ListedImages, ObjectCrops, those of '
            'MMPretrain), or have data_prefix=dict(img_path=..., seg_map_path=...).'
        )
    try:
        if is_segmentation(dataset_cfg):
            return report_maps(dataset_cfg, workers=workers)
        if is_classification(dataset_cfg):
            return report_classes(used or alone(dataset_cfg), workers=workers)
        return report_coco(used or alone(dataset_cfg), workers=workers)
    except DatasetError as error:
        prefix = dataset_cfg.get('data_prefix') or {}
        prefix = prefix if isinstance(prefix, Mapping) else dict(img=prefix)
        name = dataset_cfg.get('ann_file') or prefix.get('img_path') or prefix.get('img') or ''
        root = str(dataset_cfg.get('data_root') or '')
        return SplitReport(name=os.path.join(root, str(name)), errors=(str(error),))


def report_maps(dataset_cfg: Mapping[str, Any], *, workers: int = 1) -> SplitReport:
    """Read every image and every label map.

    Raises:
        DatasetError: when nothing can be listed.
    """
    split = list_split(dataset_cfg)
    statistics = LabelStatistics(split)
    inspect = partial(inspect_pair, value_range=value_range_of(dataset_cfg.get('pipeline')))
    inspected = map_in_processes(inspect, split.pairs, workers=workers)
    for pair, findings in zip(split.pairs, inspected, strict=True):
        statistics.add(pair, findings)
    return SplitReport(
        name=split.name,
        files=tuple(image for image, _ in split.pairs),
        classes=tuple(statistics.by_class()),
        errors=tuple(statistics.errors()),
        warnings=tuple(statistics.warnings()),
    )


def report_classes(used: UsedDataset, *, workers: int = 1) -> SplitReport:
    """Count the images of each class, and read them all.

    Raises:
        DatasetError: when nothing can be listed.
    """
    listed = list_classified(used.cfg)
    problems = Problems()
    for fault in find_broken(listed, used.cfg, workers=workers):
        problems.add('image that cannot be read', fault)
    return SplitReport(
        name=listed.name,
        files=listed.files,
        unit='images',
        classes=tuple(listed.rows()),
        errors=tuple(problems.lines()),
        warnings=tuple(listed.warnings(trained=used.trained)),
    )


def report_coco(used: UsedDataset, *, workers: int = 1) -> SplitReport:
    """Read every image that a COCO file lists, and count its annotations; or its segments.

    Raises:
        DatasetError: when the file itself cannot be read.
    """
    if is_remote(used.cfg):
        raise DatasetError('it is not on a local disk, and cannot be checked here')
    check_layout(used.cfg)
    panoptic = is_panoptic(used.cfg)
    summary = inspect_used_panoptic(used, all_maps=True) if panoptic else inspect_used_coco(used)
    ann_file, folder, classes = locate_coco(used.cfg)
    images = [
        (os.path.join(folder, item['file_name']), item['width'], item['height'])
        for item in summary.images
    ]
    images = [image for image in images if os.path.isfile(image[0])]  # the others are told
    problems, turned = Problems(), []
    inspect = partial(inspect_image, value_range=value_range_of(used.cfg.get('pipeline')))
    inspected = map_in_processes(inspect, images, workers=workers)
    for (file, _, _), findings in zip(images, inspected, strict=True):
        if findings.turned:
            turned.append(file)
        if findings.problem:
            problems.add(findings.kind, findings.problem)
    content = json.loads(Path(ann_file).read_text(encoding='utf-8'))
    if panoptic:
        content['annotations'] = [
            dict(segment, image_id=entry['image_id'])
            for entry in content['annotations']
            for segment in entry['segments_info']
            if isinstance(segment, dict)
        ]
    counted = count_annotations(content, classes)
    return SplitReport(
        name=str(ann_file),
        files=tuple(file for file, _, _ in images),
        unit='segments' if panoptic else 'annotations',
        classes=counted,
        errors=(*summary.problems.lines(), *problems.lines()),
        warnings=(
            *_few(counted),
            *summary.warnings,
            *_oddities(summary.oddities),
            *([warn_of_turns(len(turned), turned[0])] if turned else []),
        ),
    )


def inspect_image(item: tuple[str, int, int], value_range: ValueRange | None = None) -> Findings:
    """Decode an image file; `item` is its name and the width and height that it should have."""
    file, width, height = item
    nothing = np.zeros(256, np.int64)
    try:
        data = Path(file).read_bytes()
        image = decode_image(data, name=file, value_range=value_range)
    except OSError as error:
        return Findings(nothing, f'image {file} cannot be read: {error}', 'missing')
    except DatasetError as error:
        return Findings(nothing, str(error), 'broken')
    if image.shape[:2] != (height, width):
        problem = other_size(file, image.shape[1::-1], (width, height), data)
        return Findings(nothing, problem, 'size')
    header = header_of(data)
    return Findings(nothing, turned=header is not None and header.orientation != 1)


def count_annotations(
    content: Mapping[str, Any], classes: Sequence[str]
) -> tuple[tuple[str, int, int], ...]:
    """`(name, annotations, images)` of every class; crowds are left out, as in training."""
    named = (c for c in content['categories'] if isinstance(c, dict) and {'id', 'name'} <= c.keys())
    names = {key_of(category['id']): category['name'] for category in named}
    annotations: Counter[str] = Counter()
    images: dict[str, set] = {}
    for annotation in content.get('annotations', ()):
        if not isinstance(annotation, dict) or annotation.get('iscrowd'):
            continue
        name = names.get(key_of(annotation.get('category_id')))
        if name is not None:
            annotations[name] += 1
            images.setdefault(name, set()).add(key_of(annotation.get('image_id')))
    return tuple((name, annotations[name], len(images.get(name, ()))) for name in classes)


def _few(counted: Iterable[tuple[str, int, int]]) -> list[str]:
    absent = [name for name, count, _ in counted if not count]
    few = [f'{name} ({count})' for name, count, _ in counted if 0 < count < _FEW]
    found = []
    if absent:
        found.append(f'classes that never occur ({len(absent)}): {_listed(absent)}')
    if few:
        found.append(f'classes with less than {_FEW} annotations ({len(few)}): {_listed(few)}')
    return found


def _oddities(oddities: Mapping[str, int]) -> list[str]:
    return [f'tolerated: {number} {what}' for what, number in oddities.items()]


def _listed(names: Sequence[str], shown: int = 8) -> str:
    return ', '.join(names[:shown]) + (', ...' if len(names) > shown else '')
