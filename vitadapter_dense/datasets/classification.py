"""What classification data sets have in common: a label an image, and who asks for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from .errors import DatasetError


class ClassificationDataset(BaseDataset):
    """A data set whose samples have a `gt_label`; wrappers and samplers find labels as usual."""

    def get_gt_labels(self) -> np.ndarray:
        """(N,) int64, the labels of all images."""
        self.full_init()
        infos = (self.get_data_info(index) for index in range(len(self)))
        return np.fromiter((info['gt_label'] for info in infos), np.int64, len(self))

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label of an image, as a list."""
        return [int(self.get_data_info(idx)['gt_label'])]


def labels_of(dataset: Any) -> np.ndarray:
    """(N,) int64, the labels of any classification data set, MMPretrain's or wrapped ones too.

    Raises:
        DatasetError: its samples have no label.
    """
    dataset.full_init()
    if hasattr(dataset, 'get_gt_labels'):
        return np.asarray(dataset.get_gt_labels(), np.int64)
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    try:
        return np.fromiter((info['gt_label'] for info in infos), np.int64, len(dataset))
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f'{type(dataset).__name__} has no label for each image: it is no classification set'
        ) from error


def count_labels(dataset: Any, labels: np.ndarray | None = None) -> np.ndarray:
    """(C,) int64, how many images each class of a classification data set has.

    Args:
        dataset: which names the classes.
        labels: of all images, where somebody has asked for them.

    Raises:
        DatasetError: no names of classes, or a label beyond them.
    """
    labels = labels_of(dataset) if labels is None else labels
    classes = dataset.metainfo.get('classes')
    if classes is None:
        raise DatasetError(
            f'{type(dataset).__name__} names no classes. Mend: metainfo=dict(classes=(...))'
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise DatasetError(
            f'{type(dataset).__name__} has labels from {labels.min()} to {labels.max()}, but '
            f'{len(classes)} classes. Mend: name all classes in metainfo'
        )
    return np.bincount(labels, minlength=len(classes))


def named_classes(
    metainfo: Mapping[str, Any] | None, num_classes: int | None, beside: Path
) -> tuple[str, ...] | None:
    """Names of classes: as `metainfo` says, numbers for so many, or a file `classes.txt`.

    Args:
        metainfo: of the data set; `classes` may be the name of a file with a name a line.
        num_classes: classes that go by their numbers.
        beside: the folder of the data.

    Returns:
        the names; None where nobody says.

    Raises:
        DatasetError: a string that is no file, both kinds at once, or a name that stands twice.
    """
    given, file = (metainfo or {}).get('classes'), beside / 'classes.txt'
    if given is not None and num_classes not in (None, len(given)):
        raise DatasetError(f'num_classes={num_classes} beside metainfo.classes: give one of them')
    if isinstance(given, str):
        file = Path(given)
        if not file.is_file():
            raise DatasetError(f'metainfo.classes={given!r} is no file of names, one a line')
    if given is None and num_classes is not None:
        return tuple(map(str, range(num_classes)))
    if isinstance(given, str) or (given is None and file.is_file()):
        given = lines_of(file)
    if given is None:
        return None
    _refuse_twice(given)
    return tuple(given)


def _refuse_twice(names: Sequence[str]) -> None:
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise DatasetError(f'the class {twice[0]!r} stands twice. Mend: a name of its own for each')


def lines_of(file: Path) -> list[str]:
    """The lines of a text file without empty ones.

    Raises:
        DatasetError: it cannot be read as text.
    """
    try:
        text = file.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{file} cannot be read as a list: {error}') from error
    return [line.strip() for line in text.splitlines() if line.strip()]
