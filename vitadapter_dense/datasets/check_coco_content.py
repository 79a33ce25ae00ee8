"""What `check_coco.py` looks at inside a COCO file: its categories, its images, its instances.

References: the format at cocodataset.org/#format-data; what MMDetection 3 drops without an error in
its `CocoDataset.parse_data_info`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import DatasetError

#: MMDetection drops a box of no area or outside of its image. COCO has a few; more are a mistake.
MAX_DROPPED_SHARE = 1e-3
_SHOWN = 5


@dataclasses.dataclass
class CocoSummary:
    """What a split holds.

    Attributes:
        ann_file: the annotation file.
        num_images, num_annotations: as in the file.
        oddities: what is unusual but can be used, with the number of times it was seen.
    """

    ann_file: str
    num_images: int = 0
    num_annotations: int = 0
    oddities: Counter[str] = dataclasses.field(default_factory=Counter)

    def __str__(self) -> str:
        text = f'{self.ann_file}: {self.num_images} images, {self.num_annotations} annotations'
        if not self.oddities:
            return text
        return f'{text}; tolerated: ' + ', '.join(
            f'{n} {what}' for what, n in self.oddities.items()
        )


def check_categories(
    content: dict[str, Any], classes: Sequence[str], *, summary: CocoSummary, subset: bool
) -> None:
    """The categories must be the classes, in their order, and every annotation must have one."""
    file = summary.ann_file
    names: dict[Any, str] = {}
    for category in content['categories']:
        if not isinstance(category, dict) or not {'id', 'name'} <= category.keys():
            raise DatasetError(f'{file}: category {category!r} needs an `id` and a `name`')
        identity = _key(category['id'])
        if identity in names:
            raise DatasetError(
                f'{file}: category id {category["id"]} is there twice; make it unique'
            )
        names[identity] = category['name']
    for what, values in (('category name', names.values()), ('class of the config', classes)):
        twice = [name for name, n in Counter(values).items() if n > 1]
        if twice:
            raise DatasetError(f'{file}: {what} {_some(twice)} is there twice; make it unique')
    absent = [name for name in classes if name not in names.values()]
    if absent:
        near = difflib.get_close_matches(absent[0], [str(n) for n in names.values()], n=1)
        hint = f' (near to {absent[0]!r}: {near[0]!r})' if near else ''
        raise DatasetError(
            f'{file}: of the {len(classes)} classes of the config, {_some(absent)} are not among '
            f'the {len(names)} categories {_some(names.values())}{hint}. Set '
            '`metainfo=dict(classes=...)` of the data set, and `num_classes` of the heads, to the '
            'categories of the file.'
        )
    known = [name for name in names.values() if name in set(classes)]
    if known != list(classes):
        position = next(i for i, name in enumerate(classes) if known[i] != name)
        raise DatasetError(
            f'{file}: its categories stand in another order than the classes of the config (class '
            f'{position} is {classes[position]!r} in the config, {known[position]!r} in the file). '
            "MMDetection numbers the labels in the file's order: names and results would be mixed "
            'up. List the classes in the order '
            f'{_some(known, shown=len(known) if len(known) <= 20 else _SHOWN)}.'
        )
    used = Counter(
        _key(annotation.get('category_id')) if isinstance(annotation, dict) else None
        for annotation in content.get('annotations', ())
    )
    unknown = [category for category in used if category not in names]
    if unknown:
        raise DatasetError(
            f'{file}: {sum(used[c] for c in unknown)} annotations have a category_id that is not '
            f'among the categories: {_some(unknown)}. Add them to `categories`, or take the '
            'annotations out.'
        )
    extra = {names[c]: n for c, n in used.items() if names[c] not in set(classes)}
    if extra and not subset:
        raise DatasetError(
            f'{file}: {sum(extra.values())} annotations are of categories that the config does not '
            f'know: {_some(extra)}. They would be dropped without a word. Add them to '
            '`metainfo=dict(classes=...)` and `num_classes`, or say that they are left out on '
            'purpose: `metainfo=dict(classes=..., subset=True)`.'
        )
    if extra:
        summary.oddities['annotations of categories left out'] += sum(extra.values())


def check_images(content: dict[str, Any], image_dir: Path, *, summary: CocoSummary) -> None:
    """Every image must have an id of its own, a size, and its file in the folder."""
    file, images = summary.ann_file, content['images']
    summary.num_images = len(images)
    if not images:
        raise DatasetError(
            f'{file}: the split is empty, `images` has no entries. Is it the right file?'
        )
    ids = set()
    for image in images:
        if (
            not isinstance(image, dict)
            or not {'id', 'file_name', 'height', 'width'} <= image.keys()
        ):
            raise DatasetError(
                f'{file}: image {_short(image)} needs `id`, `file_name`, `height` and `width`'
            )
        size = (image['width'], image['height'])
        if not all(isinstance(value, (int, float)) and value >= 1 for value in size):
            raise DatasetError(
                f'{file}: image {image["file_name"]} has width={size[0]!r}, height={size[1]!r}: '
                'both must be '
                "positive numbers; write the file's real size"
            )
        if _key(image['id']) in ids:
            raise DatasetError(f'{file}: image id {image["id"]!r} is there twice; make it unique')
        ids.add(_key(image['id']))
    if not image_dir.is_dir():
        raise DatasetError(f'image folder {image_dir} (for {file}) does not exist')
    missing = _missing_files([str(image['file_name']) for image in images], image_dir)
    if missing:
        raise DatasetError(
            f'{len(missing)} of the {len(images)} images of {file} are missing in {image_dir}: '
            f'{_some(missing)}. Unpack the images there, or set `data_prefix=dict(img=...)` to the '
            'folder that their names start from.'
        )


def _missing_files(names: Iterable[str], image_dir: Path) -> list[str]:
    """Names without a file; one listing for every folder that the names mention."""
    listings: dict[str, set[str]] = {}
    missing = []
    for name in names:
        folder, base = os.path.split(name)
        if folder not in listings:
            try:
                with os.scandir(image_dir / folder) as entries:
                    listings[folder] = {entry.name for entry in entries}
            except OSError:
                listings[folder] = set()
        if base not in listings[folder]:
            missing.append(name)
    return missing


def check_instances(
    content: dict[str, Any], *, summary: CocoSummary, masks: bool, evaluated: bool
) -> None:
    """Boxes, areas, segmentations: what MMDetection and pycocotools read of an annotation."""
    file = summary.ann_file
    annotations = content.get('annotations', [])
    summary.num_annotations = len(annotations)
    if not annotations and not evaluated:
        raise DatasetError(
            f'{file}: the split is empty, `annotations` has no entries: nothing to train on'
        )
    needed = {'id', 'image_id', 'bbox', 'area'} | ({'iscrowd'} if evaluated else set())
    sizes = {_key(image['id']): (image['width'], image['height']) for image in content['images']}
    ids: set[Any] = set()
    dropped: list[tuple[Any, str]] = []
    for annotation in annotations:
        if not needed <= annotation.keys():
            lacks = ', '.join(f'`{key}`' for key in sorted(needed - annotation.keys()))
            raise DatasetError(
                f'{file}: annotation {_short(annotation)} has no {lacks}'
                + (' (0 for an ordinary object)' if 'iscrowd' in lacks else '')
            )
        identity = _key(annotation['id'])
        if identity in ids:
            raise DatasetError(f'{file}: annotation id {identity!r} is there twice; make it unique')
        ids.add(identity)
        size = sizes.get(_key(annotation['image_id']))
        if size is None:
            summary.oddities['annotations of images that are not in the file'] += 1
            continue
        problem = _check_box(annotation, size, summary=summary)
        if problem:
            dropped.append((identity, problem))
        elif masks and not annotation.get('segmentation'):
            raise DatasetError(
                f'{file}: annotation {identity!r} has no segmentation, and the config trains '
                'masks. Add one, take the annotation out, or use a detector without a mask head.'
            )
        elif masks:
            _check_segmentation(annotation, size, summary=summary)
    if len(dropped) > MAX_DROPPED_SHARE * len(annotations):
        shown = '; '.join(f'annotation {identity!r}: {text}' for identity, text in dropped[:_SHOWN])
        hint = ''
        if len(dropped) > 0.2 * len(annotations):
            hint = ' Are they [x1, y1, x2, y2], or in units of another image size?'
        raise DatasetError(
            f'{file}: {len(dropped)} of {len(annotations)} boxes are broken: {shown}. A box is [x, '
            f'y, width, height] in pixels of the image.{hint} Mend them or take the annotations '
            'out.'
        )
    if dropped:
        summary.oddities['boxes of no area or outside of the image'] = len(dropped)


def _check_box(
    annotation: dict[str, Any], size: tuple[float, float], *, summary: CocoSummary
) -> str | None:
    """What makes MMDetection drop a box; counts lesser oddities, raises for worse ones."""
    box = annotation['bbox']
    where = f'{summary.ann_file}: annotation {annotation["id"]!r}'
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        raise DatasetError(f'{where}: bbox={box!r} must be four numbers [x, y, width, height]')
    numbers = (*box, annotation['area'])
    if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
        raise DatasetError(
            f'{where}: bbox={box!r} and area={annotation["area"]!r} must be finite numbers; a NaN '
            'here becomes a NaN loss. Mend it or take the annotation out.'
        )
    x, y, w, h = box
    if w < 0 or h < 0:
        raise DatasetError(
            f'{where}: bbox={box!r} has a negative size; a box is [x, y, width, height]. Mend it '
            'or take the annotation out.'
        )
    if annotation.get('iscrowd'):
        summary.oddities['crowd regions'] += 1
    if w == 0 or h == 0:
        return f'bbox={box!r} has no area'
    width, height = size
    inside_w = min(x + w, width) - max(x, 0)
    inside_h = min(y + h, height) - max(y, 0)
    if inside_w <= 0 or inside_h <= 0 or inside_w * inside_h < 0.5 * w * h:
        return f'bbox={box!r} is outside of its {width} x {height} image'
    if min(w, h) < 1 or annotation['area'] <= 0:
        summary.oddities['objects of less than a pixel, which are dropped'] += 1
    elif inside_w < w - 1 or inside_h < h - 1:
        summary.oddities['boxes that reach out of the image, which are clipped'] += 1
    return None


def _check_segmentation(
    annotation: dict[str, Any], size: tuple[float, float], *, summary: CocoSummary
) -> None:
    """Raises for a mask of another image; counts polygons that MMDetection leaves out."""
    mask = annotation['segmentation']
    where = f'{summary.ann_file}: annotation {annotation["id"]!r}'
    if isinstance(mask, dict):
        width, height = size
        if not mask.get('counts') or list(mask.get('size') or ()) != [height, width]:
            raise DatasetError(
                f'{where}: its run-length mask needs `counts` and the size of its image, '
                f'[{height}, {width}] (height, width), and has size={mask.get("size")!r}. Mend it '
                'or take the annotation out.'
            )
    elif not isinstance(mask, list):
        raise DatasetError(
            f'{where}: segmentation={_short(mask)} must be a list of polygons [x, y, x, y, ...] or '
            'a run-length mask. Mend it or take the annotation out.'
        )
    elif not any(isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 for p in mask):
        summary.oddities['objects without a polygon of three points, which are ignored'] += 1


def _key(value: Any) -> Any:
    """An id as the files have it, number or text, and what is neither as its text."""
    return value if isinstance(value, (int, float, str, type(None))) else repr(value)


def _some(values: Iterable[Any], *, shown: int = _SHOWN) -> str:
    values = list(values)
    text = ', '.join(repr(value) for value in values[:shown])
    return text if len(values) <= shown else f'{text} and {len(values) - shown} more'


def _short(value: Any, *, length: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= length else f'{text[:length]}...'
