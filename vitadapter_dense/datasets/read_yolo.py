"""Read a data set in YOLO's format: a text file an image, a line an object, sizes in 0..1.

A line is `class x y width height` (of the box's centre) or `class x1 y1 x2 y2 x3 y3 ...` (a
polygon). Layouts: a `data.yaml` that names folders or lists; `images/` beside `labels/`, each with
or without a folder a split, in either order; text files beside the images. The format is described
at https://docs.ultralytics.com/datasets/detect and .../segment; keypoints are left out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import DatasetError
from .labelled_images import (
    LabelledImage,
    LabelledObject,
    box_of,
    is_image,
    shown_size,
    split_in,
    walk_files,
)
from .labelled_set import LabelledSet

_NAME_FILES = ('classes.txt', 'obj.names', 'predefined_classes.txt', 'labels.txt')
_SLACK = 0.01  # beyond 0..1, what rounding and a pen at the border make; it is cut off
_BOX = 'a line is `class x y width height` or `class x1 y1 x2 y2 x3 y3 ...`, sizes in 0..1'


def has_yolo(root: Path) -> bool:
    """Whether a folder looks like a data set of this format."""
    if _read_yaml(root) is not None:
        return True
    images = {file.with_suffix('') for file in walk_files(root) if is_image(file)}
    return any(label_file(image).is_file() for image in sorted(images)[:200])


def read_yolo(root: Path, *, classes: Sequence[str] | None = None) -> LabelledSet:
    """Read images and labels of a folder.

    Args:
        root: the folder.
        classes: names, in the order of their numbers; default: those of `data.yaml`, `classes.txt`
            or `obj.names`.

    Raises:
        DatasetError: there are no names; what is wrong with lines stands in `problems`.
    """
    described = _read_yaml(root)
    file, content = described or (None, {})
    names = list(classes or _names(root, file, content))
    found = LabelledSet('YOLO', tuple(names))
    listed = _listed_images(root, file, content) if content.get('train') else _all_images(root)
    keypoints = 'kpt_shape' in content
    used = set()
    for split, images in listed.items():
        for path in images:
            size = shown_size(path)
            if size is None:
                found.problems.add('broken image', f'{path} cannot be read; fetch it again')
                continue
            image = LabelledImage(os.path.relpath(path, root), *size)
            labels = label_file(path)
            if labels.is_file():
                used.add(labels)
                image.objects = _read_labels(labels, size, found, keypoints=keypoints)
                found.label_files.append(labels)
            else:
                found.remark('images without a label file, taken for background', path)
            found.images.setdefault(split, []).append(image)
    spare = [path for path in walk_files(root) if _is_label(path) and path not in used]
    for path in spare if not content.get('train') else ():
        found.remark('label files without an image, left out', path)
    return found


def label_file(image: Path) -> Path:
    """The text file of an image: `labels` for the last `images` on its way, else beside it."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index].lower() == 'images':
            parts[index] = 'labels'
            swapped = Path(*parts).with_suffix('.txt')
            return swapped if swapped.parent.is_dir() else image.with_suffix('.txt')
    return image.with_suffix('.txt')


def _is_label(path: Path) -> bool:
    inside = {part.lower() for part in path.parts}
    return path.suffix == '.txt' and 'labels' in inside and path.name not in _NAME_FILES


def _read_labels(
    path: Path, size: tuple[int, int], found: LabelledSet, *, keypoints: bool
) -> list[LabelledObject]:
    objects: list[LabelledObject] = []
    seen = set()
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found.problems.add('unreadable label file', f'{path}: {error}; save it as UTF-8 text')
        return []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        problem, item = _read_line(words[:5] if keypoints else words, size, found.classes)
        if item is None:
            kind, text = problem
            found.problems.add(kind, f'{path}:{number}: {text}')
        elif tuple(words) in seen:
            found.remark('lines that are there twice, taken once', f'{path}:{number}')
        elif min(item.box[2:]) <= 0:
            found.remark('objects of no area, left out', f'{path}:{number}')
        else:
            seen.add(tuple(words))
            objects.append(item)
    return objects


def _read_line(
    words: Sequence[str], size: tuple[int, int], classes: Sequence[str]
) -> tuple[tuple[str, str], LabelledObject | None]:
    """An object, or why a line is none: its kind, and a message with its mend."""
    try:
        label, *numbers = (float(word) for word in words)
    except ValueError:
        return ('not numbers', f'{" ".join(words)[:80]!r} holds what is no number; {_BOX}'), None
    if not all(map(math.isfinite, (label, *numbers))):
        return ('not finite', f'{" ".join(words)[:80]!r} holds NaN or infinity; {_BOX}'), None
    if label != int(label) or not 0 <= label < len(classes):
        last = f'0 to {len(classes) - 1}'
        text = f'class {words[0]} is none of {last} ({len(classes)} names); correct it or the names'
        return ('class that has no name', text), None
    is_box, is_polygon = len(numbers) == 4, len(numbers) >= 6 and len(numbers) % 2 == 0
    if not is_box and not is_polygon:
        text = f'{len(numbers)} numbers after the class; {_BOX}'
        return ('wrong number of values', text), None
    if is_box:
        x, y, w, h = numbers
        edges = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        if w < 0 or h < 0:
            return ('negative size', f'width {w:g}, height {h:g}; {_BOX}'), None
    else:
        edges = numbers
    far = max(max(edges) - 1, -min(edges))
    if far > _SLACK:
        unit = 'they seem to be pixels: divide by width and height' if max(numbers) > 2 else _BOX
        return ('out of the image', f'values from {min(edges):g} to {max(edges):g}; {unit}'), None
    scaled = [min(max(v, 0), 1) * size[n % 2] for n, v in enumerate(edges)]
    if is_box:
        x1, y1, x2, y2 = scaled
        return ('', ''), LabelledObject(int(label), (x1, y1, x2 - x1, y2 - y1))
    polygon = [round(value, 2) for value in scaled]
    return ('', ''), LabelledObject(int(label), box_of([polygon]), [polygon])


def _read_yaml(root: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The description of the data set, if there is one: a YAML file with `names`."""
    for file in sorted([*root.glob('*.yaml'), *root.glob('*.yml')]):
        try:
            content = yaml.safe_load(file.read_text(encoding='utf-8'))
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise DatasetError(f'{file} is no YAML: {error}. Mend it, or move it away.') from error
        if isinstance(content, Mapping) and 'names' in content:
            return file, content
    return None


def _names(root: Path, file: Path | None, content: Mapping[str, Any]) -> list[str]:
    names = content.get('names')
    if isinstance(names, Mapping):
        if sorted(names) != list(range(len(names))):
            raise DatasetError(
                f'{file}: names has the numbers {sorted(names)[:20]}, which must be 0 to '
                f'{len(names) - 1}. Mend: name every class.'
            )
        names = [names[number] for number in range(len(names))]
    if isinstance(names, list) and names:
        return [str(name) for name in names]
    for folder in (root, root / 'labels'):
        for name in _NAME_FILES:
            if (folder / name).is_file():
                lines = (folder / name).read_text(encoding='utf-8-sig').splitlines()
                return [line.strip() for line in lines if line.strip()]
    raise DatasetError(
        f'{root} has labels of YOLO, but no names of classes. Mend: --classes NAME NAME ..., or '
        f'one name a line in {root / "classes.txt"}.'
    )


def _all_images(root: Path) -> dict[str, list[Path]]:
    listed: dict[str, list[Path]] = {}
    for path in walk_files(root):
        if is_image(path):
            split = split_in(path.relative_to(root).parent / '_') or 'all'
            listed.setdefault(split, []).append(path)
    return listed


def _listed_images(
    root: Path, file: Path | None, content: Mapping[str, Any]
) -> dict[str, list[Path]]:
    listed = {}
    base = root / str(content.get('path') or '')
    for split in ('train', 'val', 'test'):
        entries = content.get(split) or ()
        if split == 'test' and not entries:
            continue
        images: list[Path] = []
        for entry in [entries] if isinstance(entries, str) else entries:
            images += _images_of(str(entry), (base, root), file)
        if images:
            listed[split] = list(dict.fromkeys(images))
    return listed


def _images_of(entry: str, bases: Iterable[Path], file: Path | None) -> list[Path]:
    """What an entry of the description stands for: a folder of images, or a list of files."""
    inside = entry
    while inside.startswith(('./', '../')):  # as some tools write it, from another folder
        inside = inside.partition('/')[2]
    for base in bases:
        for place in (base / entry, base / inside):
            if place.is_dir():
                return [path for path in walk_files(place) if is_image(path)]
            if place.is_file():
                lines = place.read_text(encoding='utf-8').splitlines()
                paths = [Path(line.strip()) for line in lines if line.strip()]
                places = [p if p.is_absolute() else _first(p, (base, place.parent)) for p in paths]
                missing = [path for path in places if not path.is_file()]
                if missing:
                    raise DatasetError(
                        f'{place}: {len(missing)} of {len(places)} images are not there, first '
                        f'{missing[0]}. Mend: correct the list, or add them.'
                    )
                return places
    raise DatasetError(
        f'{file}: {entry!r} is no folder and no list of images, from {next(iter(bases))}. Mend: '
        'correct `path`, `train` and `val`.'
    )


def _first(path: Path, bases: Iterable[Path]) -> Path:
    places = [base / path for base in bases]
    return next((place for place in places if place.is_file()), places[0])
