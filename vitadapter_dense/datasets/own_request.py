"""What a user says of data of their own, and what a config says of them in the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from .errors import DatasetError

Task = Literal['detection', 'instance', 'segmentation', 'classification']
Format = Literal['coco', 'yolo', 'voc', 'maps', 'folders']


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user says of the data.

    Attributes:
        root: the folder.
        task: what is to be learnt.
        layout: the format; default: the one that is found.
        classes: names, in the order that their numbers are to have.
        annotations: COCO files to take, of training and perhaps of validation.
        reduce_zero_label: 0 is no class in label maps.
        val_share: of a validation set that is split off.
        seed: of that split.
        converted: folder of what is made from the data; default: one beside them.
        replace: make the folder anew where the data or this have changed since.
        workers: processes that read maps.
    """

    root: Path
    task: Task
    layout: Format | None = None
    classes: tuple[str, ...] = ()
    annotations: tuple[Path, ...] = ()
    reduce_zero_label: bool = False
    val_share: float = 0.2
    seed: int = 0
    converted: Path | None = None
    replace: bool = False
    workers: int = 1

    @property
    def target(self) -> Path:
        """Where conversions go."""
        return self.converted or self.root / f'converted_{self.task}'


@dataclasses.dataclass
class OwnData:
    """What a config says of a data set.

    Attributes:
        layout: what was found, in words.
        classes: names, in their order.
        train, val: entries of the data sets' configs: files and folders, from the data's folder.
        counts: images of training and of validation.
        sizes: width and height of images of training, some of many.
        example: an image of validation.
        common: entries that both data sets share.
        remarks: what was concluded, left out or written, as sentences.
    """

    layout: str
    classes: tuple[str, ...]
    train: dict
    val: dict
    counts: tuple[int, int]
    sizes: list[tuple[int, int]]
    example: Path
    common: dict = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)


def needed_split(splits: Sequence[str], root: Path) -> bool:
    """Whether a validation set has to be split off.

    Raises:
        DatasetError: there is nothing to train on.
    """
    if not {'train', 'all'} & set(splits):
        raise DatasetError(
            f'{root} has {", ".join(splits) or "no images"}, and no training set. Mend: name its '
            'folder train.'
        )
    return 'val' not in splits


def say_split(request: Request, counts: tuple[int, int]) -> str:
    """How a validation set came about, in words."""
    return (
        f'no validation set: {counts[1]} of {sum(counts)} images were split off at random '
        f'(--seed {request.seed}, --val-share {request.val_share:g})'
    )
