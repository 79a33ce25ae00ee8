"""Check classification sets: MMPretrain's, ours, and what wraps them.

They are built without their pipeline, which lists all images with their labels; whatever the
layout, the same is then looked at.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from .classification import count_labels
from .dataset_configs import UsedDataset, classification_scope, kind
from .decoding import ValueRange, decode_image
from .errors import DatasetError
from .loading import value_range_of
from .processes import map_in_processes

_FEW = 10  # images of a class


@dataclasses.dataclass(frozen=True)
class ClassifiedSet:
    """What a classification set lists.

    Attributes:
        name: its list or folder.
        classes: names, in the order of their labels.
        counts: images of each.
        files: of the images, each once; none where the set keeps images in another way.
    """

    name: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    files: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, int, int]]:
        """Name, images and, once more, images of every class."""
        return [(name, n, n) for name, n in zip(self.classes, self.counts, strict=True)]

    def warnings(self, *, trained: bool) -> list[str]:
        """What a training survives: classes with few images or none."""
        if not trained:
            return []
        rows = list(zip(self.classes, self.counts, strict=True))
        absent = [name for name, count in rows if not count]
        few = [f'{name} ({count})' for name, count in rows if 0 < count < _FEW]
        found = [f'classes that never occur ({len(absent)}): {_listed(absent)}'] if absent else []
        if few:
            found.append(f'classes with less than {_FEW} images ({len(few)}): {_listed(few)}')
        return found


def list_classified(leaf: Mapping[str, Any]) -> ClassifiedSet:
    """Build a classification set and list it.

    Raises:
        DatasetError: it cannot be built, lists nothing, labels do not fit, or images are missing.
    """
    name = _name_of(leaf)
    try:
        with DATASETS.switch_scope_and_registry(classification_scope()) as registry:
            dataset = registry.build(_without_pipeline(leaf))
        counts = count_labels(dataset)
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    except (OSError, AssertionError, KeyError, RuntimeError, TypeError) as error:
        raise DatasetError(
            f'{kind(leaf)} of {name} cannot be listed: {type(error).__name__} {error}'
        ) from error
    if not infos:
        raise DatasetError(f'{kind(leaf)} of {name} lists no image. Mend: its list, or its folder')
    files = list(dict.fromkeys(info['img_path'] for info in infos if info.get('img_path')))
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        raise DatasetError(
            f'{len(missing)} of {len(files)} images of {name} do not exist, first: {missing[0]}. '
            'Mend: data_prefix.img, or the list'
        )
    return ClassifiedSet(
        name, tuple(map(str, dataset.metainfo['classes'])), tuple(counts.tolist()), tuple(files)
    )


def find_class_faults(
    model: Mapping[str, Any], sets: Sequence[tuple[UsedDataset, ClassifiedSet]]
) -> list[str]:
    """What a classifier's head, and the sets among each other, have otherwise, in words."""
    found = []
    head = model.get('head')
    number = head.get('num_classes') if isinstance(head, Mapping) else None
    loss = head.get('loss') if isinstance(head, Mapping) else None
    numbers = {'model.head.num_classes': number}
    if isinstance(loss, Mapping):
        numbers['model.head.loss.num_classes'] = loss.get('num_classes')
    for used, listed in sets:
        for name, given in numbers.items():
            if given is not None and given != len(listed.classes):
                found.append(
                    f'{name} is {given}, but {used.name} has {len(listed.classes)} classes '
                    f'({_listed(listed.classes, 4)}). Mend: {name}={len(listed.classes)}'
                )
    for used, listed in sets[1:]:
        first, expected = sets[0]
        if listed.classes != expected.classes and len(listed.classes) == len(expected.classes):
            found.append(
                f'the classes of {used.name} ({_listed(listed.classes, 4)}) are others than those '
                f'of {first.name} ({_listed(expected.classes, 4)}), or in another order: labels '
                'would be mixed up. Mend: give both the same metainfo'
            )
    return found


def find_broken(listed: ClassifiedSet, leaf: Mapping[str, Any], *, workers: int) -> list[str]:
    """Decode every image; a message for each that cannot be read."""
    inspect = partial(_fault_of, value_range=value_range_of(_innermost(leaf).get('pipeline')))
    return [fault for fault in map_in_processes(inspect, listed.files, workers=workers) if fault]


def _fault_of(file: str, value_range: ValueRange | None = None) -> str:
    try:
        decode_image(Path(file).read_bytes(), name=file, value_range=value_range)
    except OSError as error:
        return f'image {file} cannot be read: {error}'
    except DatasetError as error:
        return str(error)
    return ''


def _innermost(leaf: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = leaf.get('dataset')
    return _innermost(inner) if isinstance(inner, Mapping) else leaf


def _without_pipeline(leaf: Mapping[str, Any]) -> dict[str, Any]:
    inner = leaf.get('dataset')
    if isinstance(inner, Mapping):
        return dict(leaf, dataset=_without_pipeline(inner))
    return dict(leaf, pipeline=[])


def _name_of(leaf: Mapping[str, Any]) -> str:
    leaf = _innermost(leaf)
    prefix = leaf.get('data_prefix')
    prefix = prefix.get('img') if isinstance(prefix, Mapping) else prefix
    place = leaf.get('ann_file') or prefix or leaf.get('split') or ''
    return os.path.join(str(leaf.get('data_root') or ''), str(place))


def _listed(names: Sequence[str], shown: int = 8) -> str:
    return ', '.join(names[:shown]) + (', ...' if len(names) > shown else '')
