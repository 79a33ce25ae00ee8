"""Read a data set in Pascal VOC's format: an XML file an image, with boxes in pixels.

Layouts: `Annotations/` beside `JPEGImages/` (or `images/`), XML files beside the images, either
with a folder a split; `ImageSets/Main/{train,val,test}.txt` say which image is for what. Boxes of
VOC count pixels from 1 and have their last pixel inside; a file with a 0 shows that a set counts
from 0. The format: http://host.robots.ox.ac.uk/pascal/VOC, the development kit's section 4.2.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from .check_image_files import read_file_header
from .errors import DatasetError
from .image_headers import ImageHeader, explain_turn
from .labelled_images import LabelledImage, LabelledObject, is_image, split_in, walk_files
from .labelled_set import LabelledSet

_Box = tuple[str, list[float], bool]  # name, corners, difficult


def has_voc(root: Path) -> bool:
    """Whether a folder has annotations of this format."""
    return any(_is_annotation(path) for path in walk_files(root))


def read_voc(root: Path, *, classes: Sequence[str] | None = None) -> LabelledSet:
    """Read images and annotations of a folder.

    Args:
        root: the folder.
        classes: names, in the order that their numbers are to have; default: those that occur, in
            the alphabet's.
    """
    found = LabelledSet('Pascal VOC', ())
    by_stem: dict[str, list[Path]] = {}
    for path in walk_files(root):
        if is_image(path) and 'Segmentation' not in path.parent.name:
            by_stem.setdefault(path.stem, []).append(path)
    splits = _listed_splits(root)
    read: list[tuple[str, LabelledImage, Path, list[_Box]]] = []
    taken = set()
    for file in filter(_is_annotation, walk_files(root)):
        image = _image_of(file, by_stem)
        if image is None:
            found.remark('annotations without an image, left out', file)
            continue
        if image in taken:
            found.problems.add('two annotation files', f'{image}, by {file} too; take one away')
            continue
        taken.add(image)
        inside = file.relative_to(root)
        split = splits.get(file.stem) if splits else split_in(inside.parent / '_')
        if splits and split is None:
            found.remark('images that no list in ImageSets names, left out', image)
            continue
        header = read_file_header(str(image))
        if header is None:
            found.problems.add('broken image', f'{image} cannot be read; fetch it again')
            continue
        boxes = _read_annotation(file, header, found)
        found.label_files.append(file)
        labelled = LabelledImage(os.path.relpath(image, root), *header.shown)
        read.append((split or 'all', labelled, file, boxes))
    for image in sorted({path for paths in by_stem.values() for path in paths} - taken):
        found.remark('images without an annotation, left out', image)
    found.classes = tuple(classes or sorted({name for *_, boxes in read for name, *_ in boxes}))
    from_zero = any(min(corners[:2]) == 0 for *_, boxes in read for _, corners, _ in boxes)
    if from_zero:
        found.remark('boxes begin at 0, so that pixels are counted from 0, not from 1 as VOC', root)
    for split, labelled, file, boxes in read:
        labelled.objects = list(_objects(boxes, labelled, file, found, first=0 if from_zero else 1))
        found.images.setdefault(split, []).append(labelled)
    return found


def _is_annotation(path: Path) -> bool:
    return path.suffix.lower() == '.xml'


def _image_of(file: Path, by_stem: Mapping[str, list[Path]]) -> Path | None:
    """The image of the same name that is nearest to an annotation file."""
    images = by_stem.get(file.stem, ())
    return max(images, key=lambda image: len(os.path.commonpath([image, file])), default=None)


def _listed_splits(root: Path) -> dict[str, str]:
    """Name -> split, of the lists; what stands in several is for validation before training."""
    found: dict[str, str] = {}
    for split in ('trainval', 'train', 'val', 'test'):
        for file in sorted(root.rglob(f'ImageSets/Main/{split}.txt')):
            for line in file.read_text(encoding='utf-8-sig').splitlines():
                if not line.strip():
                    continue
                words = line.split()
                name = words[0] if words[-1] in ('1', '0', '-1') and len(words) == 2 else line
                found[name.strip()] = 'all' if split == 'trainval' else split
    return found


def _read_annotation(file: Path, header: ImageHeader, found: LabelledSet) -> list[_Box]:
    try:
        tree = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        found.problems.add('broken XML', f'{file}: {error}; write it again')
        return []
    size = [_number(tree.findtext(f'size/{key}')) for key in ('width', 'height')]
    if all(size) and tuple(size) != header.shown:
        turn = explain_turn(header, (int(size[0] or 0), int(size[1] or 0)))
        found.problems.add(
            'other image size',
            f'{file} is for {size[0]:g} x {size[1]:g} pixels, but its image is {header.shown[0]} x '
            f'{header.shown[1]}.{turn or " Is it the image that was annotated?"}',
        )
        return []
    boxes = []
    for number, item in enumerate(tree.iter('object'), start=1):
        name = (item.findtext('name') or '').strip()
        keys = ('xmin', 'ymin', 'xmax', 'ymax')
        corners = [_number(item.findtext(f'bndbox/{key}')) for key in keys]
        if not name or None in corners:
            found.problems.add(
                'incomplete object',
                f'{file}: object {number} needs a name and a bndbox of xmin, ymin, xmax, ymax',
            )
            continue
        difficult = (item.findtext('difficult') or '0').strip() == '1'
        boxes.append((name, [float(corner) for corner in corners if corner is not None], difficult))
    return boxes


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _objects(
    boxes: Iterable[_Box], image: LabelledImage, file: Path, found: LabelledSet, *, first: int
) -> Iterable[LabelledObject]:
    for number, (name, (x1, y1, x2, y2), difficult) in enumerate(boxes, start=1):
        where = f'{file}: object {number} ({name})'
        left, top = max(x1 - first, 0), max(y1 - first, 0)
        right, bottom = min(x2, image.width), min(y2, image.height)
        if name not in found.classes:
            found.problems.add(
                'class that is not named', f'{where} is none of --classes {" ".join(found.classes)}'
            )
        elif not (x1 <= x2 and y1 <= y2):
            found.problems.add('corners the wrong way', f'{where}: {x1:g} {y1:g} {x2:g} {y2:g}')
        elif x2 > image.width + 1 or y2 > image.height + 1 or min(x1, y1) < 0:
            found.problems.add(
                'out of the image',
                f'{where}: {x1:g} {y1:g} {x2:g} {y2:g} in {image.width} x {image.height} pixels',
            )
        elif right <= left or bottom <= top:
            found.remark('objects of no area, left out', where)
        else:
            if difficult:
                found.remark('difficult objects, neither learnt nor counted (iscrowd)', where)
            box = (left, top, right - left, bottom - top)
            yield LabelledObject(found.classes.index(name), box, crowd=difficult)


def refuse_masks(root: Path) -> None:
    """Raise, since the boxes of VOC's files have no masks."""
    raise DatasetError(
        f'{root} has boxes in XML files, and instance segmentation needs the outline of every '
        'object. Mend: --task detection, or polygons in COCO or YOLO format.'
    )
