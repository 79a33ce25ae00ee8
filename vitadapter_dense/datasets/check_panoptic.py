"""Check a data set of COCO's panoptic format before training: its JSON, and its PNGs against it.

MMDetection looks at none of this: a segment that the PNG lacks is an empty mask, one that the JSON
lacks is ignored, and the name of a PNG in the JSON is not read, but made from the image's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .check_coco_content import check_categories, check_images
from .coco_summary import CocoSummary, key_of, short, some
from .dataset_configs import UsedDataset, folders, locate_coco, meta_of
from .errors import DatasetError
from .panoptic_files import (
    MAX_ID,
    compare_ids,
    decode_panoptic,
    load_panoptic_json,
    map_name,
)
from .problems import Problems

_SAMPLED_MAPS = 16


def inspect_used_panoptic(used: UsedDataset, *, all_maps: bool = False) -> CocoSummary:
    """Look into the JSON of a data set and its PNGs; images are only looked up.

    Args:
        used: a local `CocoPanopticDataset`, whose folders are there.
        all_maps: read every PNG, and not some that are spread over the split.

    Returns:
        counts, what a user should know, and the problems; `num_annotations` are segments.

    Raises:
        DatasetError: for a JSON that cannot be read.
    """
    leaf = used.cfg
    ann_file, image_dir, classes = locate_coco(leaf)
    content = load_panoptic_json(ann_file)
    summary = CocoSummary(ann_file=ann_file)
    segments = _check_segments(content, problems=summary.problems)
    flat = [segment for of_image in segments.values() for segment in of_image.values()]
    summary.num_annotations = len(flat)
    subset = bool((leaf.get('metainfo') or {}).get('subset', False))
    check_categories({**content, 'annotations': flat}, classes, summary=summary, subset=subset)
    _check_things(content, classes, meta_of(leaf, 'thing_classes') or (), summary=summary)
    summary.images = check_images(content, Path(image_dir), summary=summary)
    map_dir = folders(leaf).get('seg')
    if map_dir is not None:
        number = len(content['images']) if all_maps else _SAMPLED_MAPS
        _check_maps(summary, segments, Path(map_dir), number=number)
    if used.trained:
        _check_filter(content, segments, leaf.get('filter_cfg') or {}, summary=summary)
    summary.most_objects = max(
        (sum(not s.get('iscrowd') for s in each.values()) for each in segments.values()), default=0
    )
    crowds = sum(bool(segment.get('iscrowd')) for segment in flat)
    if crowds:
        summary.oddities['crowd regions'] = crowds
    return summary


def _check_segments(
    content: Mapping[str, Any], *, problems: Problems
) -> dict[Any, dict[int, dict[str, Any]]]:
    """The segments by image and id, of the images whose segments can be used."""
    names = {key_of(image['id']): str(image['file_name']) for image in content['images']}
    categories = {key_of(category['id']) for category in content['categories']}
    found: dict[Any, dict[int, dict[str, Any]]] = {}
    broken = set()
    for entry in content['annotations']:
        image = key_of(entry['image_id'])
        if image not in names:
            text = f'image_id {entry["image_id"]!r}. Mend: take JSON and images of the same release'
            problems.add('entries of an image that is not in the file', text)
            continue
        expected = map_name(names[image])
        if entry['file_name'] != expected:
            text = f'{entry["file_name"]!r} of {names[image]!r}. Mend: name the PNG {expected!r}'
            problems.add('PNGs that are not named after their image', text)
        if image in found:
            text = f'image_id {entry["image_id"]!r}. Mend: put all its segments into one entry'
            problems.add('images with several entries of segments', text)
            broken.add(image)
        of_image = found.setdefault(image, {})
        for segment in entry['segments_info']:
            kind, mend = _judge(segment, of_image, categories)
            if kind:
                text = f'{short(segment)} of {entry["file_name"]}. Mend: {mend}'
                problems.add(kind, text)
                broken.add(image)
            else:
                of_image[segment['id']] = segment
    without = [name for image, name in names.items() if image not in found]
    if without:
        problems.say(
            f'{len(without)} images have no entry of segments: {some(without)}. Mend: add an entry '
            'with `segments_info=[]`, or take them out'
        )
    return {image: of_image for image, of_image in found.items() if image not in broken}


def _judge(segment: Any, others: Mapping[int, Any], categories: set[Any]) -> tuple[str, str]:
    """What is wrong with a segment, and the mend; empty texts if nothing is."""
    needed = {'id', 'category_id', 'area', 'bbox'}
    if not isinstance(segment, dict) or not needed <= segment.keys():
        return 'incomplete segments', f'each needs {", ".join(sorted(needed))}'
    identity = segment['id']
    if type(identity) is not int or not 0 < identity <= MAX_ID:
        return (
            'segment ids that no colour can be',
            f'an id is a whole number from 1 to {MAX_ID}; 0 is void',
        )
    if identity in others:
        return 'segment ids that an image has twice', 'give each segment an id and a colour'
    if key_of(segment['category_id']) not in categories:
        return (
            'segments of an unknown category',
            'add it to `categories`, or take JSON and categories of the same release',
        )
    return '', ''


def _check_things(
    content: Mapping[str, Any],
    classes: Sequence[str],
    thing_classes: Sequence[str],
    *,
    summary: CocoSummary,
) -> None:
    """What is countable must be so in the file and in the config, and have the first numbers."""
    in_file = [c['name'] for c in content['categories'] if c['isthing'] and c['name'] in classes]
    things = [name for name in classes if name in set(thing_classes)]
    if set(in_file) != set(things):
        different = sorted(set(in_file) ^ set(things))
        summary.problems.say(
            f'{summary.ann_file}: {some(different)} are things in the file (`isthing`) or in the '
            'config (metainfo.thing_classes) alone. Mend: metainfo=dict(classes=..., '
            f'thing_classes=({", ".join(map(repr, in_file[:3]))}, ...), stuff_classes=...) as in '
            'the file.'
        )
    elif list(classes[: len(things)]) != things:
        first = next(name for name in classes if name not in set(thing_classes))
        summary.problems.say(
            f'{summary.ann_file}: the class {first!r} is stuff and stands before a thing, but '
            'heads take the first num_things_classes labels for things. Mend: order `categories` '
            'of the file and metainfo.classes: things, then stuff.'
        )


def _check_maps(
    summary: CocoSummary,
    segments: Mapping[Any, Mapping[int, Mapping[str, Any]]],
    map_dir: Path,
    *,
    number: int,
) -> None:
    """Every PNG must be there; about `number` of them are read, spread over the split."""
    images = summary.images
    files = [map_dir / map_name(image['file_name']) for image in images]
    there = {path for folder in {path.parent for path in files} for path in folder.glob('*')}
    missing = [str(path) for path in files if path not in there]
    if missing:
        summary.problems.say(
            f'{len(missing)} of {len(files)} panoptic maps are missing: {some(missing)}. Mend: '
            'unpack the PNGs there, or correct data_prefix.seg'
        )
    step = max(1, -(-len(images) // number))
    for image, path in list(zip(images, files, strict=True))[::step]:
        of_image = segments.get(key_of(image['id']))
        if path in there and of_image is not None:
            kind, text = inspect_map(path, image, of_image)
            if kind:
                summary.problems.add(kind, text)


def inspect_map(
    path: Path, image: Mapping[str, Any], segments: Mapping[int, Mapping[str, Any]]
) -> tuple[str, str]:
    """What is wrong with a PNG: a few words, and the message with the mend; empty if nothing is."""
    try:
        ids = decode_panoptic(path.read_bytes(), name=str(path))
    except (OSError, DatasetError) as error:
        return 'PNGs that cannot be used', str(error)
    expected = (image['height'], image['width'])
    if ids.shape != expected:
        return (
            'PNGs of another size than their image',
            f'panoptic map {path} is {ids.shape[1]} x {ids.shape[0]} pixels, but its image '
            f'{image["file_name"]} is {expected[1]} x {expected[0]} (width x height). Mend: make '
            'the map from this very image; do not resize one of the two alone',
        )
    problem = compare_ids(ids, segments, name=str(path))
    if problem:
        return 'PNGs that do not fit their JSON', problem
    areas = dict(zip(*(part.tolist() for part in np.unique(ids, return_counts=True)), strict=True))
    for identity, segment in segments.items():
        if areas[identity] != segment['area']:
            return (
                'PNGs that do not fit their JSON',
                f'segment {identity} of {path} has {areas[identity]} pixels, and its JSON says '
                f'{segment["area"]}. Mend: take map and JSON from the same release',
            )
    return '', ''


def _check_filter(
    content: Mapping[str, Any],
    segments: Mapping[Any, Mapping[int, Mapping[str, Any]]],
    filter_cfg: Mapping[str, Any],
    *,
    summary: CocoSummary,
) -> None:
    """Say which images a training leaves out, as MMDetection's `CocoPanopticDataset` does."""
    things = {key_of(c['id']) for c in content['categories'] if c['isthing']}
    counts: Counter[str] = Counter()
    for image in summary.images:
        of_image = segments.get(key_of(image['id']), {}).values()
        single = [s for s in of_image if key_of(s['category_id']) in things]
        if filter_cfg.get('filter_empty_gt') and all(s.get('iscrowd') for s in single):
            counts['have no thing, and filter_cfg.filter_empty_gt leaves them out'] += 1
        elif min(image['width'], image['height']) < filter_cfg.get('min_size', 0):
            counts['are smaller than filter_cfg.min_size, and left out'] += 1
    total = len(summary.images)
    if total and counts.total() == total:
        reasons = '; '.join(f'{number} {text}' for text, number in counts.items())
        summary.problems.say(
            f'{summary.ann_file}: nothing is left to train on: of {total} images, {reasons}. Mend: '
            'lower min_size, or filter_cfg=dict(filter_empty_gt=False) where stuff alone is learnt.'
        )
        return
    summary.warnings += [f'{number} of {total} images {text}' for text, number in counts.items()]
