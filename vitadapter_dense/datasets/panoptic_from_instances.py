"""Make COCO's panoptic files, and maps of things and stuff, from a file of instances.

No person has labelled stuff there: what no object covers is one stuff class, or void. The JSON says
in its `info` that it was made so. Where objects overlap, the smaller one is in front; crowds lie
behind all. An object of which nothing is left to see has no segment.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .errors import DatasetError
from .load_seg_map import IGNORED
from .panoptic_files import VOID, encode_panoptic, map_name

_MADE = 'made from instances'
_NEEDED = dict(
    images={'id', 'file_name', 'height', 'width'},
    annotations={'image_id', 'category_id', 'area'},
    categories={'id', 'name'},
)


def make_panoptic(
    instances_file: str | os.PathLike,
    panoptic_file: str | os.PathLike,
    map_dir: str | os.PathLike,
    *,
    stuff: Sequence[str] = (),
    rest: str | None = None,
    label_dir: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the panoptic JSON and its PNGs; the JSON last, so that it is there when all is.

    Args:
        instances_file: COCO instances.
        panoptic_file: the JSON to write; one that was not made by this function is left alone.
        map_dir: folder of the PNGs, named after the images.
        stuff: names of stuff classes, which get the ids after those of the file's categories.
        rest: the one of them that pixels without an object are; default: they are void.
        label_dir: also write maps with a byte a pixel there, as COCO's `stuffthingmaps`: category
            id less one, 255 where there is none.
        progress: called with (images done, images in all).

    Raises:
        DatasetError: naming the file, the value and the mend.
    """
    content = read_instances(Path(instances_file))
    panoptic_file, map_dir = Path(panoptic_file), Path(map_dir)
    _check_owned(panoptic_file)
    categories = _categories(content['categories'], stuff, file=instances_file)
    ids = {category['name']: category['id'] for category in categories}
    if rest is not None and rest not in stuff:
        raise DatasetError(f'rest={rest!r} is none of the stuff classes {list(stuff)}: name one')
    unfit = [number for number in ids.values() if not 1 <= number <= IGNORED]
    if label_dir is not None and unfit:
        raise DatasetError(
            f'{instances_file}: category id {unfit[0]} does not fit a map of bytes. Mend: number '
            'the categories from 1'
        )
    of_image = defaultdict(list)
    for annotation in content['annotations']:
        of_image[annotation['image_id']].append(annotation)
    entries = []
    for number, image in enumerate(content['images'], start=1):
        shape = (image['height'], image['width'])
        painted, segments = paint(of_image[image['id']], shape, rest=ids.get(rest))
        name = map_name(image['file_name'])
        write_whole(map_dir / name, encode_panoptic(painted))
        if label_dir is not None:
            labels = os.path.splitext(image['file_name'])[0] + '.png'
            write_whole(Path(label_dir) / labels, _encode_labels(painted, segments))
        entries.append(dict(image_id=image['id'], file_name=name, segments_info=segments))
        if progress is not None:
            progress(number, len(content['images']))
    source = Path(instances_file).name
    described = f'{_MADE}: things of {source}, pixels without an object are {rest or "void"}'
    result = dict(
        info=dict(description=described),
        images=content['images'],
        annotations=entries,
        categories=categories,
    )
    write_whole(panoptic_file, json.dumps(result, separators=(',', ':')).encode())


def paint(
    annotations: Sequence[dict[str, Any]], shape: tuple[int, int], *, rest: int | None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The ids of an image's segments, and what the JSON says of each.

    Args:
        annotations: COCO's, of the image.
        shape: height and width.
        rest: category id of the pixels without an object; None leaves them void.
    """
    ids = np.full(shape, VOID, np.int32)
    order = sorted(
        range(len(annotations)),
        key=lambda k: (not annotations[k].get('iscrowd', 0), -annotations[k]['area']),
    )
    for index in order:
        ids[_decode(annotations[index]['segmentation'], shape)] = index + 1
    kinds = {
        index: (annotation['category_id'], int(annotation.get('iscrowd', 0)))
        for index, annotation in enumerate(annotations, start=1)
    }
    if rest is not None:
        number = len(annotations) + 1
        ids[ids == VOID] = number
        kinds[number] = (rest, 0)
    segments = []
    for identity in np.unique(ids).tolist():
        if identity != VOID:
            category, crowd = kinds[identity]
            mask = (ids == identity).astype(np.uint8)
            box = [int(value) for value in cv2.boundingRect(mask)]
            segments.append(
                dict(
                    id=identity,
                    category_id=category,
                    area=int(mask.sum()),
                    bbox=box,
                    iscrowd=crowd,
                )
            )
    return ids, segments


def _decode(segmentation: Any, shape: tuple[int, int]) -> np.ndarray:
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list):  # polygons
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *shape))
    elif isinstance(segmentation['counts'], list):
        segmentation = coco_mask.frPyObjects(segmentation, *shape)
    return coco_mask.decode(segmentation).astype(bool)


def _encode_labels(ids: np.ndarray, segments: Sequence[dict[str, Any]]) -> bytes:
    labels = np.full(ids.shape, IGNORED, np.uint8)
    for segment in segments:
        if not segment['iscrowd']:
            labels[ids == segment['id']] = segment['category_id'] - 1
    return cv2.imencode('.png', labels)[1].tobytes()


def _categories(
    things: Sequence[dict[str, Any]], stuff: Sequence[str], *, file: str | os.PathLike
) -> list[dict[str, Any]]:
    """The file's categories as things, then the stuff."""
    names = [*(category['name'] for category in things), *stuff]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f'{file}: {twice[0]!r} would be two classes. Mend: rename the stuff')
    first = max((category['id'] for category in things), default=0) + 1
    return [
        *({**category, 'isthing': 1} for category in things),
        *(dict(id=number, name=name, isthing=0) for number, name in enumerate(stuff, first)),
    ]


def read_instances(path: Path) -> dict[str, Any]:
    """What a file of COCO instances says.

    Raises:
        DatasetError: it is none, or has no masks.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f'{path} cannot be read ({error}). Mend: name a JSON file of COCO instances'
        ) from error
    if not isinstance(content, dict) or any(not isinstance(content.get(k), list) for k in _NEEDED):
        raise DatasetError(
            f'{path} has not the lists {tuple(_NEEDED)}. Mend: name a file of COCO instances'
        )
    for key, members in _NEEDED.items():
        for entry in content[key]:
            if lacking := sorted(members - entry.keys()):
                raise DatasetError(
                    f'{path}: an entry of {key!r} has no {", ".join(lacking)}: {str(entry)[:100]}. '
                    'Mend: add it'
                )
    known = {category['id'] for category in content['categories']}
    for annotation in content['annotations']:
        if annotation['category_id'] not in known:
            raise DatasetError(
                f'{path}: annotation {annotation.get("id")!r} is of the unknown category '
                f'{annotation["category_id"]!r}. Mend: add it to `categories`, or drop the '
                'annotation'
            )
    without = [a for a in content['annotations'] if not a.get('segmentation')]
    if without:
        raise DatasetError(
            f'{path}: {len(without)} annotations have no mask (`segmentation`), first id '
            f'{without[0].get("id")!r}. Mend: masks are needed, boxes alone are not enough'
        )
    return content


def _check_owned(path: Path) -> None:
    """A panoptic file that people labelled is worth more than one that is made."""
    if not path.exists():
        return
    try:
        described = json.loads(path.read_text(encoding='utf-8'))['info']['description']
        ours = str(described).startswith(_MADE)
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise DatasetError(
            f'{path} is there and was not made from instances: nothing was written. Mend: name '
            'another folder, or move it away'
        )


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.tmp')
    temporary.write_bytes(data)
    os.replace(temporary, path)
