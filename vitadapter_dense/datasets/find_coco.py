"""Find the COCO files of a folder, which split each is of, and where its images lie.

The usual places: `annotations/instances_train.json` beside `train/` or `images/train/`, a file
inside of each folder of images (`train/_annotations.coco.json`), one file for all.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import DatasetError
from .labelled_images import split_in, walk_files

_SAMPLED = 50  # names that are looked up in each folder
_KEYS = ('images', 'annotations', 'categories')


@dataclasses.dataclass
class CocoFile:
    """An annotation file as it was read; `image_dir` is where most of its images lie."""

    path: Path
    content: dict[str, Any]
    image_dir: Path


def has_coco(root: Path) -> bool:
    """Whether some JSON file of a folder begins like one of COCO's, or says so by its name."""
    return any(_looks_like_coco(path) for path in _json_files(root))


def find_coco(root: Path, files: Sequence[Path] = ()) -> dict[str, CocoFile]:
    """The annotation files by split: train, val, test, and `all` where nothing says which.

    Args:
        root: the folder.
        files: the ones to take, of training and perhaps of validation; default: those in it.

    Raises:
        DatasetError: a file is broken, or several are there for one split.
    """
    if files:
        names = ('train', 'val') if len(files) > 1 else ('all',)
        return {split: _read(path, root) for split, path in zip(names, files, strict=True)}
    by_split: dict[str, list[Path]] = {}
    for path in _json_files(root):
        if _looks_like_coco(path):
            split = split_in(path.relative_to(root)) or 'all'
            by_split.setdefault(split, []).append(path)
    found = {}
    for split, paths in by_split.items():
        instances = [path for path in paths if 'instances' in path.name]
        paths = instances if len(instances) == 1 else paths
        read = [_read(path, root) for path in paths]
        read = [one for one in read if _has_boxes(one.content)] or read[:1]
        if len(read) > 1:
            what = 'training and validation' if split == 'all' else split
            names = ', '.join(str(one.path.relative_to(root)) for one in read)
            raise DatasetError(
                f'{root} has several COCO files that may be for {what}: {names}. Mend: name those '
                'to take, --annotations TRAIN.json [VAL.json]'
            )
        found[split] = read[0]
    return found


def _json_files(root: Path) -> list[Path]:
    return [path for path in walk_files(root) if path.suffix.lower() == '.json']


def _looks_like_coco(path: Path) -> bool:
    name = path.name.lower()
    if any(word in name for word in ('caption', 'keypoint', 'panoptic', 'image_info')):
        return False
    if 'instances' in name or 'coco' in name:
        return True
    try:
        with path.open('rb') as stream:
            start = stream.read(1 << 20)
            stream.seek(max(0, path.stat().st_size - (1 << 16)))
            return any(f'"{key}"'.encode() in start + stream.read() for key in _KEYS)
    except OSError:
        return False


def _read(path: Path, root: Path) -> CocoFile:
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError, OSError) as error:
        raise DatasetError(
            f'annotation file {path} is not JSON ({error}): fetch or write it again, or move it '
            'away.'
        ) from error
    lists = isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _KEYS)
    if not lists:
        shown = sorted(content)[:10] if isinstance(content, dict) else type(content).__name__
        raise DatasetError(
            f'annotation file {path} has no lists {", ".join(_KEYS)} (found: {shown}): it is no '
            'COCO file of instances. Mend: move it away, or name the files to take, --annotations.'
        )
    return CocoFile(path, content, _image_dir(path, content, root))


def _has_boxes(content: dict[str, Any]) -> bool:
    return any(isinstance(one, dict) and 'bbox' in one for one in content['annotations'][:100])


def _image_dir(path: Path, content: dict[str, Any], root: Path) -> Path:
    """The folder where most of the sampled names are files; the nearest to the JSON of equals."""
    names = [i['file_name'] for i in content['images'] if isinstance(i, dict) and 'file_name' in i]
    names = [str(name) for name in names[:: max(1, len(names) // _SAMPLED)]]
    places = [root, path.parent]
    places += sorted({file.parent for file in walk_files(root)})
    places += [folder.parent for folder in places if root in folder.parents]
    split = split_in(path.relative_to(root)) if root in path.parents else None

    def score(folder: Path) -> tuple[int, bool, bool]:
        there = sum((folder / name).is_file() for name in names)
        fits = split is not None and split_in(folder.relative_to(root) / '_') == split
        return there, fits, folder == path.parent

    inside = [f for f in dict.fromkeys(places) if f == root or root in f.parents]
    return max(inside, key=score)


def unusual_ids(content: dict[str, Any]) -> str:
    """Which entries of annotations training or evaluation needs and a file lacks; empty for none.

    These can be added without a guess: `area`, `iscrowd`, and ids that count from 1.
    """
    annotations = [one for one in content['annotations'] if isinstance(one, dict)]
    ids = [one.get('id') for one in annotations]
    lacks = [key for key in ('area', 'iscrowd') if any(key not in one for one in annotations)]
    numbers = [i for i in ids if isinstance(i, int) and not isinstance(i, bool) and i > 0]
    if len(numbers) != len(ids) or len(set(numbers)) != len(ids):
        lacks.append('ids of their own from 1')
    return ' and '.join(lacks)


def completed(
    content: dict[str, Any], images: Sequence[dict[str, Any]], *, others: bool = False
) -> dict[str, Any]:
    """A file of some of its images, its annotations numbered from 1 and with all entries.

    Nothing else is changed; what is wrong stays for the check.

    Args:
        content: of the whole file.
        images: of the part.
        others: the part takes the annotations that are of no image of the file, too.
    """
    everything = {repr(i.get('id')) for i in content['images'] if isinstance(i, dict)}
    kept = {repr(image.get('id')) for image in images}
    annotations: list[Any] = []
    for one in content['annotations']:
        image = repr(one.get('image_id')) if isinstance(one, dict) else ''
        if image not in kept and not (others and image not in everything):
            continue
        if not isinstance(one, dict):
            annotations.append(one)
            continue
        annotation = dict(one, id=len(annotations) + 1)
        annotation.setdefault('iscrowd', 0)
        if 'area' not in annotation and _is_box(annotation.get('bbox')):
            annotation['area'] = annotation['bbox'][2] * annotation['bbox'][3]
        annotations.append(annotation)
    return dict(content, images=list(images), annotations=annotations)


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in box)
    )


def class_names_of(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """The names of the categories, in the file's order.

    Raises:
        DatasetError: a category has no name, or two have the same.
    """
    names = [c.get('name') if isinstance(c, dict) else None for c in content['categories']]
    twice = [name for name, number in Counter(map(str, names)).items() if number > 1]
    if not names or None in names or twice:
        what = f'{twice[0]!r} is there twice' if twice else 'every one needs a `name`'
        raise DatasetError(f'{path}: categories: {what if names else "there are none"}. Mend them.')
    return tuple(map(str, names))


def relative(path: Path, root: Path) -> str:
    """A path from the data's folder, as a config has it."""
    return os.path.relpath(path, root)
