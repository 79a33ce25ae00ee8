"""Which classes each sample of a data set has, found in its labels before any task begins."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine import fileio

from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.datasets.classification import labels_of
from vitadapter_dense.datasets.load_seg_map import decode_labels, to_classes

Kind = Literal['classification', 'segmentation', 'detection', 'panoptic']


def kind_of(dataset: Any) -> Kind:
    """What the samples of a built data set are labelled with.

    Raises:
        ScheduleError: no labels that a schedule could be made by.
    """
    dataset.full_init()
    info = dataset.get_data_info(0) if len(dataset) else {}
    if 'gt_label' in info or hasattr(dataset, 'get_gt_labels'):
        return 'classification'
    if 'segments_info' in info:
        return 'panoptic'
    if info.get('seg_map_path'):
        return 'segmentation'
    if 'instances' in info:
        return 'detection'
    raise ScheduleError(
        f'{type(dataset).__name__} has neither a label an image nor label maps nor objects '
        f'(its samples have {sorted(info)}): tasks cannot be made of it'
    )


def class_presence(dataset: Any, *, cache: str | Path | None = None) -> np.ndarray:
    """(N, C) bool, which classes each sample has; of ignored objects and pixels none.

    Args:
        dataset: built, of any of the three toolboxes.
        cache: a file that keeps it, since all label maps are read; it is made again for other
            samples, for label maps that were written since, and where they are read otherwise.

    Raises:
        ScheduleError: as `kind_of`.
        DatasetError: a label map that cannot be used.
    """
    kind = kind_of(dataset)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    number = len(dataset.metainfo['classes'])
    key = hashlib.sha256(repr([_place(info) for info in infos] + [number]).encode()).hexdigest()
    if cache is not None and Path(cache).is_file():
        with np.load(cache) as kept:
            if str(kept['key']) == key:
                return kept['found']
    found = np.zeros((len(infos), number), bool)
    if kind == 'classification':
        found[np.arange(len(infos)), labels_of(dataset)] = True
    else:
        read = dict(segmentation=_pixel_labels, detection=_object_labels, panoptic=_segment_labels)
        labels = read[kind]
        for row, info in zip(found, infos, strict=True):
            own = labels(info)
            row[own[own < number]] = True
    if cache is not None and kind == 'segmentation':
        Path(cache).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(cache) as file:
            np.savez_compressed(file, key=key, found=found)
    return found


def _pixel_labels(info: dict[str, Any]) -> np.ndarray:
    path = info['seg_map_path']
    labels = to_classes(
        decode_labels(fileio.get(path), name=path),
        reduce_zero_label=info.get('reduce_zero_label', False),
        label_map=info.get('label_map'),
    )
    return np.unique(labels)


def _object_labels(info: dict[str, Any]) -> np.ndarray:
    objects = (one for one in info['instances'] if not one.get('ignore_flag'))
    return np.unique(np.array([one['bbox_label'] for one in objects], np.int64))


def _segment_labels(info: dict[str, Any]) -> np.ndarray:
    """Of stuff and things; a crowd is a segment, too."""
    return np.unique(np.array([one['category'] for one in info['segments_info']], np.int64))


def _place(info: dict[str, Any]) -> list[Any]:
    """What tells a sample, its labels and how they are read from others, wherever the data lie."""
    names = [Path(str(info.get(key))).name for key in ('img_path', 'seg_map_path')]
    labels = Path(str(info.get('seg_map_path')))
    written = labels.stat().st_mtime_ns if labels.is_file() else None
    return [*names, written, info.get('reduce_zero_label'), info.get('label_map')]
