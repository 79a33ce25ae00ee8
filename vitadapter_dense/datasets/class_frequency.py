"""How often classes occur in what a configuration trains on, by which results are grouped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .check_classes import list_classified
from .dataset_configs import is_classification, is_coco, kind, leaves, locate_coco
from .errors import DatasetError


def training_images(cfg: Mapping[str, Any]) -> dict[str, int]:
    """Images of each class in the training set of a configuration: labelled so, or with an object.

    Crowds count as objects, as in LVIS; no image is read.

    Raises:
        DatasetError: there is no training set, it cannot be listed, or it has label maps.
    """
    loader = cfg.get('train_dataloader')
    if not loader:
        raise DatasetError(
            'classes are grouped by how often they occur in the training set, and the '
            'configuration has no train_dataloader. Mend: name it, or leave the groups out'
        )
    found: Counter[str] = Counter()
    for leaf in leaves(loader['dataset']):
        if is_classification(leaf):
            listed = list_classified(leaf)
            found.update(dict(zip(listed.classes, listed.counts, strict=True)))
        elif is_coco(leaf):
            found.update(_of_coco(leaf))
        else:
            raise DatasetError(
                f'{kind(leaf)} has neither a label an image nor objects: classes are grouped by '
                'frequency for classifiers and for detectors with a COCO file'
            )
    return dict(found)


def _of_coco(leaf: Mapping[str, Any]) -> Counter[str]:
    ann_file, _, classes = locate_coco(leaf)
    try:
        with open(ann_file, encoding='utf-8') as stream:
            content = json.load(stream)
        names = {entry['id']: entry['name'] for entry in content['categories']}
        pairs = {(one['image_id'], one['category_id']) for one in content['annotations']}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f'{ann_file} is no COCO file that can be counted: {error}') from error
    counts = Counter(names.get(category) for _, category in pairs)
    return Counter({name: counts[name] for name in classes or names.values()})
