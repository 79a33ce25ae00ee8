"""What `check_coco.py` looks at in a COCO file: its categories, its images, what is left of them.

References: the format at cocodataset.org/#format-data; what MMDetection 3 leaves out without an
error in its `CocoDataset.filter_data`.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from .coco_summary import SHOWN, CocoSummary, key_of, short, some
from .judge_annotations import MAX_LEFT_OUT_SHARE


def check_categories(
    content: dict[str, Any], classes: Sequence[str], *, summary: CocoSummary, subset: bool
) -> list[dict[str, Any]]:
    """The categories must be the classes, in their order, and every annotation must have one.

    Returns:
        the categories that can be used.
    """
    file, problems = summary.ann_file, summary.problems
    names: dict[Any, str] = {}
    usable = []
    for category in content['categories']:
        if not isinstance(category, dict) or not {'id', 'name'} <= category.keys():
            text = f'{file}: category {short(category)} needs an `id` and a `name`'
            problems.add('incomplete category', text)
            continue
        identity = key_of(category['id'])
        if identity in names:
            text = f'{file}: category id {category["id"]} is there twice; make it unique'
            problems.add('category id that is not unique', text)
            continue
        names[identity] = category['name']
        usable.append(category)
    summary.text_categories = any(isinstance(identity, str) for identity in names)
    repeated = False
    for what, values in (('category name', names.values()), ('class of the config', classes)):
        twice = [name for name, n in Counter(map(key_of, values)).items() if n > 1]
        if twice:
            repeated = True
            problems.say(f'{file}: {what} {some(twice)} is there twice; make it unique')
    absent = [name for name in classes if name not in names.values()]
    if absent:
        near = difflib.get_close_matches(absent[0], [str(n) for n in names.values()], n=1)
        hint = f' (near to {absent[0]!r}: {near[0]!r})' if near else ''
        problems.say(
            f'{file}: of the {len(classes)} classes of the config, {some(absent)} are not among '
            f'the {len(names)} categories {some(names.values())}{hint}. Set '
            '`metainfo=dict(classes=...)` of the data set, and `num_classes` of the heads, to the '
            'categories of the file.'
        )
    known = [name for name in names.values() if name in set(classes)]
    if known != list(classes) and not (absent or repeated):
        position = next(i for i, name in enumerate(classes) if known[i] != name)
        problems.say(
            f'{file}: its categories stand in another order than the classes of the config (class '
            f'{position} is {classes[position]!r} in the config, {known[position]!r} in the file). '
            "MMDetection numbers the labels in the file's order: names and results would be mixed "
            'up. List the classes in the order '
            f'{some(known, shown=len(known) if len(known) <= 20 else SHOWN)}.'
        )
    used = Counter(
        key_of(annotation.get('category_id'))
        for annotation in content.get('annotations', ())
        if isinstance(annotation, dict)
    )
    unknown = [category for category in used if category not in names]
    if unknown:
        problems.say(
            f'{file}: {sum(used[c] for c in unknown)} annotations have a category_id that is not '
            f'among the categories: {some(unknown)}. Add them to `categories`, or take the '
            'annotations out.'
        )
    known_ones = {names[c]: n for c, n in used.items() if c in names}
    extra = {name: n for name, n in known_ones.items() if name not in set(classes)}
    if extra and not subset:
        problems.say(
            f'{file}: {sum(extra.values())} annotations are of categories that the config does not '
            f'know: {some(extra)}. They would be dropped without a word. Add them to '
            '`metainfo=dict(classes=...)` and `num_classes`, or say that they are left out on '
            'purpose: `metainfo=dict(classes=..., subset=True)`.'
        )
    if extra:
        summary.oddities['annotations of categories left out'] += sum(extra.values())
    return usable


def check_images(
    content: dict[str, Any], image_dir: Path, *, summary: CocoSummary
) -> list[dict[str, Any]]:
    """Every image must have an id of its own, a size, and its file in the folder.

    Returns:
        the images that can be used, but for their files.
    """
    file, images, problems = summary.ann_file, content['images'], summary.problems
    summary.num_images = len(images)
    if not images:
        problems.say(f'{file}: the split is empty, `images` has no entries. Is it the right file?')
    ids, usable = set(), []
    for image in images:
        if (
            not isinstance(image, dict)
            or not {'id', 'file_name', 'height', 'width'} <= image.keys()
        ):
            text = f'{file}: image {short(image)} needs `id`, `file_name`, `height` and `width`'
            problems.add('incomplete image', text)
            continue
        size = (image['width'], image['height'])
        if not all(isinstance(value, (int, float)) and value >= 1 for value in size):
            problems.add(
                'image without a size',
                f'{file}: image {image["file_name"]} has width={size[0]!r}, height={size[1]!r}: '
                "both must be positive numbers; write the file's real size",
            )
            continue
        if key_of(image['id']) in ids:
            text = f'{file}: image id {image["id"]!r} is there twice; make it unique'
            problems.add('image id that is not unique', text)
            continue
        ids.add(key_of(image['id']))
        usable.append(image)
    names = Counter(str(image['file_name']) for image in usable)
    summary.image_names = list(names)
    twice = [name for name, number in names.items() if number > 1]
    if twice:
        summary.warnings.append(
            f'{len(twice)} image files are listed more than once, first {twice[0]!r}: each counts '
            'as several images, with the annotations of its own id'
        )
    if not image_dir.is_dir():
        problems.say(f'image folder {image_dir} (for {file}) does not exist')
        return usable
    missing = _missing_files(names, image_dir)
    if missing:
        problems.say(
            f'{len(missing)} of the {len(images)} images of {file} are missing in {image_dir}: '
            f'{some(missing)}. Unpack the images there, or set `data_prefix=dict(img=...)` to the '
            'folder that their names start from.'
        )
    return usable


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


def check_filter(
    content: dict[str, Any],
    classes: Sequence[str],
    *,
    filter_cfg: Mapping[str, Any],
    learnt: Set[Any],
    summary: CocoSummary,
) -> None:
    """Say which images a training leaves out, or sees without an object.

    Args:
        filter_cfg: the data set's.
        learnt: ids of the images with an object to learn.
    """
    images, file = content['images'], summary.ann_file
    min_size = filter_cfg.get('min_size', 0)
    small = {key_of(i['id']) for i in images if min(i['width'], i['height']) < min_size}
    if len(small) > MAX_LEFT_OUT_SHARE * len(images):
        summary.problems.say(
            f'{file}: {len(small)} of {len(images)} images are left out, since a side is below '
            f'filter_cfg.min_size={min_size}. Mend: lower it, or correct `width` and `height`.'
        )
        return
    used = {key_of(c['id']) for c in content['categories'] if c['name'] in set(classes)}
    annotated = {
        key_of(annotation['image_id'])
        for annotation in content['annotations']
        if key_of(annotation['category_id']) in used
    }
    everything = {key_of(image['id']) for image in images}
    filtered = bool(filter_cfg.get('filter_empty_gt', False))
    empty = everything - annotated if filtered else set()
    if len(empty | small) == len(images):
        summary.problems.say(
            f'{file}: nothing is left to train on: {len(empty)} of {len(images)} images have no '
            f'annotation of the classes {some(classes)}, and filter_empty_gt leaves them out. '
            'Mend: correct image_id and category_id of the annotations, or set '
            'filter_cfg=dict(filter_empty_gt=False).'
        )
        return
    remarks = {
        'are without annotations and left out of training; '
        'filter_cfg=dict(filter_empty_gt=False) keeps them, as background': empty,
        f'are left out of training, since a side is below filter_cfg.min_size={min_size}': small
        - empty,
        'are without an object and train as background': everything - learnt - empty - small,
    }
    summary.warnings += [
        f'{len(found)} of {len(images)} images {text}' for text, found in remarks.items() if found
    ]
