"""Images with their objects, however a data set writes them, and the same as COCO's JSON."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .check_image_files import read_file_header
from .converted_folder import RECORD

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
#: Names of folders and files that say what a part of a data set is for.
_SPLIT_NAMES = dict(
    train=('train', 'training', 'trainval', 'train2017', 'train2014'),
    val=('val', 'valid', 'validation', 'dev', 'val2017', 'val2014'),
    test=('test', 'testing', 'test2017'),
)
#: Files that say of a folder that commands of the project wrote it: conversions, runs, pictures.
_OURS = {RECORD, 'run.json', '.vitadapter_dense'}

Polygon = list[float]


@dataclasses.dataclass
class LabelledObject:
    """An object in pixels of its image as it is shown.

    Attributes:
        label: number of its class, from 0.
        box: x, y, width, height.
        polygons: its outline, [x1, y1, x2, y2, ...] each; empty where only the box is known.
        crowd: neither learnt nor counted.
    """

    label: int
    box: tuple[float, float, float, float]
    polygons: list[Polygon] = dataclasses.field(default_factory=list)
    crowd: bool = False


@dataclasses.dataclass
class LabelledImage:
    """An image file, and what is on it; `file` is relative to the data set's folder."""

    file: str
    width: int
    height: int
    objects: list[LabelledObject] = dataclasses.field(default_factory=list)


def to_coco(images: Sequence[LabelledImage], classes: Sequence[str]) -> dict[str, Any]:
    """The content of a COCO file; every id counts from 1."""
    coco: dict[str, Any] = dict(
        images=[
            dict(id=number, file_name=image.file, width=image.width, height=image.height)
            for number, image in enumerate(images, start=1)
        ],
        annotations=[],
        categories=[dict(id=n, name=name) for n, name in enumerate(classes, start=1)],
    )
    for number, image in enumerate(images, start=1):
        for item in image.objects:
            annotation = dict(
                id=len(coco['annotations']) + 1,
                image_id=number,
                category_id=item.label + 1,
                bbox=[round(value, 3) for value in item.box],
                area=round(area_of(item), 3),
                iscrowd=int(item.crowd),
            )
            if item.polygons:
                annotation['segmentation'] = item.polygons
            coco['annotations'].append(annotation)
    return coco


def area_of(item: LabelledObject) -> float:
    """Of the polygons, else of the box, in pixels."""
    if not item.polygons:
        return item.box[2] * item.box[3]
    return sum(abs(_signed_area(polygon)) for polygon in item.polygons)


def _signed_area(polygon: Polygon) -> float:
    xs, ys = polygon[::2], polygon[1::2]
    nexts = zip(xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return sum(x * v - u * y for x, y, (u, v) in zip(xs, ys, nexts, strict=True)) / 2


def box_of(polygons: Iterable[Polygon]) -> tuple[float, float, float, float]:
    """The box around polygons."""
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def walk_files(folder: Path) -> Iterator[Path]:
    """The files below a folder in order, but hidden ones and what commands of ours wrote."""
    for at, folders, names in os.walk(folder):
        if _OURS & set(names) and Path(at) != folder:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield from (Path(at, name) for name in sorted(names) if not name.startswith('.'))


def is_image(path: Path) -> bool:
    """Whether a file is an image by its ending."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def split_in(path: Path) -> str | None:
    """train, val or test, as a folder or the file's name says; None where none does."""
    words = [part.lower() for part in path.parts[:-1]][::-1]
    words += _words(path.stem.lower())
    for word in words:
        for split, names in _SPLIT_NAMES.items():
            if word in names:
                return split
    return None


def _words(stem: str) -> list[str]:
    return [stem, *stem.replace('-', '_').replace('.', '_').split('_')[::-1]]


def shown_size(path: Path) -> tuple[int, int] | None:
    """Width and height of an image as viewers show it; None for one that cannot be read."""
    header = read_file_header(str(path))
    return header.shown if header else None
