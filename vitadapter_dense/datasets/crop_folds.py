"""Objects of photographs as pictures of one size, in folds by photograph, clean or corrupted."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from .corruption import corrupt, seed_of
from .decoding import decode_image
from .errors import DatasetError
from .object_crops import ObjectCrops


@dataclass(frozen=True)
class Objects:
    """Objects of the classes that most photographs show.

    Attributes:
        classes: names, the most frequent first.
        files: of the photographs, one an object.
        boxes: (N, 4), x1, y1, x2, y2 in whole pixels.
        labels: (N,), numbers in `classes`.
        folds: (N,), the same for all objects of a photograph.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    boxes: np.ndarray
    labels: np.ndarray
    folds: np.ndarray

    @cached_property
    def name(self) -> str:
        """Tells objects and folds from others."""
        files = [Path(file).name for file in self.files]  # wherever they lie
        text = repr([self.classes, files, self.boxes.tolist(), self.folds.tolist()])
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def frequent_objects(
    sources: Sequence[tuple[Path, Path]],
    *,
    num_classes: int,
    min_size: int,
    num_folds: int,
    seed: int,
) -> Objects:
    """Pools the objects of COCO files, and deals their photographs out to folds.

    Args:
        sources: annotation file and folder of the photographs; the first file's categories count.
        num_classes: those that most photographs show with such an object are taken.
        min_size: least width and height of an object in pixels.
        num_folds: how many.
        seed: of the folds.

    Raises:
        DatasetError: the files show fewer classes, or have fewer photographs than folds.
    """
    found, names = [], ()
    for file, folder in sources:
        options = dict(metainfo=dict(classes=names)) if names else {}
        crops = ObjectCrops(
            str(file), data_prefix=dict(img=str(folder)), min_size=min_size, **options
        )
        names = crops.metainfo['classes']
        found += [crops.get_data_info(index) for index in range(len(crops))]
    shown = defaultdict(set)
    for one in found:
        shown[one['gt_label']].add(one['img_path'])
    order = sorted(shown, key=lambda label: (-len(shown[label]), label))[:num_classes]
    if len(order) < num_classes:
        raise DatasetError(f'there are objects of {len(order)} classes, not {num_classes}')
    new_label = {label: number for number, label in enumerate(order)}
    kept = [one for one in found if one['gt_label'] in new_label]
    files = sorted({one['img_path'] for one in kept}, key=lambda path: Path(path).name)
    if len(files) < num_folds:
        raise DatasetError(f'{len(files)} photographs cannot be dealt out to {num_folds} folds')
    dealt = np.random.default_rng(seed).permutation(len(files)) % num_folds
    fold_of = dict(zip(files, dealt, strict=True))
    return Objects(
        classes=tuple(names[label] for label in order),
        files=tuple(one['img_path'] for one in kept),
        boxes=np.array([one['crop'] for one in kept]),
        labels=np.array([new_label[one['gt_label']] for one in kept]),
        folds=np.array([fold_of[one['img_path']] for one in kept]),
    )


def cut_pictures(objects: Objects, size: int, corruption: str, severity: int) -> np.ndarray:
    """Cuts all objects out of their photographs, and corrupts them before they are resized.

    Args:
        objects: from `frequent_objects`.
        size: side of the pictures; an object's proportions are not kept.
        corruption: one of `vitadapter_dense.datasets.corruption`, or ``'clean'``.
        severity: 1 to 5; nothing for clean ones.

    Returns:
        (N, 3, size, size) uint8, RGB.
    """
    pictures = np.empty((len(objects.files), 3, size, size), np.uint8)
    of_file = defaultdict(list)
    for number, file in enumerate(objects.files):
        of_file[file].append(number)
    for file, numbers in of_file.items():
        image = decode_image(Path(file).read_bytes(), name=file)[..., ::-1]
        for number in numbers:
            left, top, right, bottom = objects.boxes[number]
            crop = np.ascontiguousarray(image[top:bottom, left:right])
            if corruption != 'clean':
                seed = seed_of(f'{file}, object {number}', corruption, severity)
                crop = corrupt(crop, corruption, severity, seed=seed)
            smaller = min(crop.shape[:2]) > size
            how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            resized = cv2.resize(crop, (size, size), interpolation=how)
            pictures[number] = resized.transpose(2, 0, 1)
    return pictures
