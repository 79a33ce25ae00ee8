"""What `check_coco.py` looks at in the annotations of a COCO file: boxes, areas, masks.

MMDetection leaves many annotations out without an error (`CocoDataset.parse_data_info`), and clips
what reaches out of an image. A few of these are in every data set; where they are most of one, its
units or its format are not what they should be, and that is an error with the likely cause.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .coco_summary import CocoSummary, key_of, short, some
from .errors import DatasetError

#: MMDetection drops a box of no area or outside of its image. COCO has a few; more are a mistake.
MAX_DROPPED_SHARE = 1e-3
#: A data set of which more is left out, or reaches out of its images, is not what it should be.
MAX_LEFT_OUT_SHARE = 0.5
#: Boxes that are [x1, y1, x2, y2] reach out of the image about as often as not.
_CORNERS_REACHING_SHARE = 0.1
_SHOWN = 5

_SUBPIXEL = 'objects of less than a pixel, which are dropped'
_AREA = 'objects whose area is not positive, which are dropped'
_CROWD = 'crowd regions'
_IGNORE = 'objects with `ignore`, which are dropped'
_UNKNOWN = 'annotations of images that are not in the file'
_BROKEN = 'boxes of no area or outside of the image'
_NO_POLYGON = 'objects without a polygon of three points, which are ignored'
_MENDS = {
    _SUBPIXEL: 'a box is [x, y, width, height] in pixels of the image',
    _AREA: 'MMDetection drops them: write the area of the mask, or width * height',
    _CROWD: '`iscrowd` marks groups, which are neither learnt nor counted; a single object has 0, '
    'whichever way its mask is written',
    _IGNORE: 'take `ignore` out of the annotations that are to be learnt',
    _UNKNOWN: 'their image_id must be the `id` of an entry of `images`; is it the file of this '
    'split?',
    _NO_POLYGON: 'a polygon is [x1, y1, x2, y2, x3, y3, ...]; where the tool wrote boxes alone, '
    'use a detector without a mask head',
}


@dataclasses.dataclass
class _Counts:
    """What has been seen of the boxes.

    Attributes:
        total: annotations.
        left_out: those that nobody learns from, by the reason.
        examples: the first of them.
        broken: boxes that no program should have written, in words.
        units: boxes within 0..1.
        reaching: boxes that reach out of their image.
        corners: boxes that could be [x1, y1, x2, y2]; `corner_areas`: whose area says so.
        strayed: masks that do not begin within their box; `unit_masks`: those in 0..1.
    """

    total: int = 0
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: dict[str, Any] = dataclasses.field(default_factory=dict)
    broken: list[str] = dataclasses.field(default_factory=list)
    units: int = 0
    reaching: int = 0
    corners: int = 0
    corner_areas: int = 0
    strayed: int = 0
    unit_masks: int = 0

    def leave_out(self, annotation: dict[str, Any], reason: str) -> None:
        self.left_out[reason] += 1
        self.examples.setdefault(reason, annotation)


def check_instances(
    content: dict[str, Any],
    classes: Sequence[str],
    *,
    summary: CocoSummary,
    masks: bool,
    evaluated: bool,
) -> set[Any]:
    """Boxes, areas, segmentations: what MMDetection and pycocotools read of an annotation.

    Returns:
        ids of the images with an object to learn.
    """
    file = summary.ann_file
    annotations = content.get('annotations', [])
    summary.num_annotations = len(annotations)
    if not annotations and not evaluated:
        raise DatasetError(
            f'{file}: the split is empty, `annotations` has no entries: nothing to train on'
        )
    needed = {'id', 'image_id', 'bbox', 'area'} | ({'iscrowd'} if evaluated else set())
    sizes = {key_of(image['id']): (image['width'], image['height']) for image in content['images']}
    used = {key_of(c['id']) for c in content['categories'] if c['name'] in set(classes)}
    ids: set[Any] = set()
    learnt: set[Any] = set()
    all_counts = {True: _Counts(), False: _Counts()}  # of the config's classes, and of the others
    for annotation in annotations:
        if not needed <= annotation.keys():
            lacks = ', '.join(f'`{key}`' for key in sorted(needed - annotation.keys()))
            raise DatasetError(
                f'{file}: annotation {short(annotation)} has no {lacks}'
                + (' (0 for an ordinary object)' if 'iscrowd' in lacks else '')
            )
        identity = key_of(annotation['id'])
        if identity in ids:
            raise DatasetError(f'{file}: annotation id {identity!r} is there twice; make it unique')
        ids.add(identity)
        counts = all_counts[key_of(annotation['category_id']) in used]
        counts.total += 1
        image = key_of(annotation['image_id'])
        size = sizes.get(image)
        if size is None:
            counts.leave_out(annotation, _UNKNOWN)
            continue
        reason = _check_box(annotation, size, counts=counts, summary=summary)
        if reason == _BROKEN:
            continue
        if masks and not annotation.get('segmentation'):
            raise DatasetError(
                f'{file}: annotation {identity!r} has no segmentation, and the config trains or '
                'evaluates masks. Add one, take the annotation out, or use a detector without a '
                'mask head.'
            )
        if masks and not _check_segmentation(annotation, size, counts=counts, summary=summary):
            if reason is None:
                counts.leave_out(annotation, _NO_POLYGON)
            continue
        if reason is None and counts is all_counts[True]:
            learnt.add(image)
    _judge(all_counts[True], content, summary=summary)
    if annotations and not all_counts[True].total:
        raise DatasetError(
            f'{file}: none of its {len(annotations)} annotations is of a class of the config '
            f'({some(classes)}): nothing is left. Mend: name the categories of the annotations in '
            '`metainfo=dict(classes=...)`.'
        )
    return learnt


def _check_box(
    annotation: dict[str, Any],
    size: tuple[float, float],
    *,
    counts: _Counts,
    summary: CocoSummary,
) -> str | None:
    """Why an annotation is left out, if it is; raises for what cannot be a box."""
    box, area = annotation['bbox'], annotation['area']
    where = f'{summary.ann_file}: annotation {annotation["id"]!r}'
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        raise DatasetError(f'{where}: bbox={box!r} must be four numbers [x, y, width, height]')
    if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in (*box, area)):
        raise DatasetError(
            f'{where}: bbox={box!r} and area={area!r} must be finite numbers; a NaN here becomes a '
            'NaN loss. Mend it or take the annotation out.'
        )
    x, y, w, h = box
    if w < 0 or h < 0:
        raise DatasetError(
            f'{where}: bbox={box!r} has a negative size; a box is [x, y, width, height]. Mend it '
            'or take the annotation out.'
        )
    reason = None
    if annotation.get('iscrowd'):
        reason = _CROWD
    elif annotation.get('ignore'):
        reason = _IGNORE
    width, height = size
    inside_w = min(x + w, width) - max(x, 0)
    inside_h = min(y + h, height) - max(y, 0)
    if w == 0 or h == 0:
        counts.broken.append(f'annotation {annotation["id"]!r}: bbox={box!r} has no area')
        reason = _BROKEN
    elif inside_w <= 0 or inside_h <= 0 or inside_w * inside_h < 0.5 * w * h:
        counts.broken.append(
            f'annotation {annotation["id"]!r}: bbox={box!r} is outside of its {width} x {height} '
            'image'
        )
        reason = _BROKEN
    elif min(w, h) < 1:
        reason = _SUBPIXEL
    elif area <= 0:
        reason = _AREA
    elif inside_w < w - 1 or inside_h < h - 1:
        summary.oddities['boxes that reach out of the image, which are clipped'] += 1
    counts.reaching += inside_w < w - 1 or inside_h < h - 1
    counts.units += max(x, y, w, h) <= 1
    if w > x and h > y:
        counts.corners += 1
        is_box, is_corners = abs(area - w * h), abs(area - (w - x) * (h - y))
        counts.corner_areas += is_corners < 0.01 * area < is_box
    if reason is not None:
        counts.leave_out(annotation, reason)
    return reason


def _check_segmentation(
    annotation: dict[str, Any],
    size: tuple[float, float],
    *,
    counts: _Counts,
    summary: CocoSummary,
) -> bool:
    """Whether MMDetection learns the mask; raises for what is none, or one of another image."""
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
        runs = mask['counts']
        if isinstance(runs, list) and sum(runs) != width * height:
            raise DatasetError(
                f'{where}: the runs of its mask make {sum(runs)} pixels, and its image has '
                f'{width * height}. Mend it or take the annotation out.'
            )
    elif not isinstance(mask, list) or not all(isinstance(polygon, list) for polygon in mask):
        raise DatasetError(
            f'{where}: segmentation={short(mask)} must be a list of polygons, [[x, y, x, y, ...]], '
            'or a run-length mask. Mend it or take the annotation out.'
        )
    else:
        polygons = [p for p in mask if len(p) >= 6 and len(p) % 2 == 0]
        if not polygons:
            return False
        x, y, w, h = annotation['bbox']
        if not all(isinstance(n, (int, float)) for polygon in polygons for n in polygon[:2]):
            raise DatasetError(
                f'{where}: segmentation={short(mask)} holds what is no number. Mend it or take the '
                'annotation out.'
            )
        first, second = polygons[0][:2]
        slack_w, slack_h = 2 + 0.1 * w, 2 + 0.1 * h
        within = (
            x - slack_w <= first <= x + w + slack_w and y - slack_h <= second <= y + h + slack_h
        )
        counts.strayed += not within
        counts.unit_masks += not within and max(polygons[0]) <= 1
    return True


def _judge(counts: _Counts, content: dict[str, Any], *, summary: CocoSummary) -> None:
    """Raise where most of the annotations cannot be meant; note the rest in the summary."""
    file, broken, total = summary.ann_file, counts.broken, counts.total
    lost = sum(counts.left_out.values())
    cause = _likely_cause(counts)
    if len(broken) > MAX_DROPPED_SHARE * total:
        raise DatasetError(
            f'{file}: {len(broken)} of {total} boxes are broken: {"; ".join(broken[:_SHOWN])}. A '
            f'box is [x, y, width, height] in pixels of the image.{cause} Mend them or take the '
            'annotations out.'
        )
    if lost > MAX_LEFT_OUT_SHARE * total:
        reason, number = counts.left_out.most_common(1)[0]
        cause = cause or f' Likely: {_MENDS[reason]}.'
        if reason == _UNKNOWN:
            cause = _other_type(counts.examples[reason]['image_id'], content) or cause
        raise DatasetError(
            f'{file}: {lost} of {total} annotations would be left out, {number} of them as '
            f'{reason}, first {short(counts.examples[reason])}.{cause}'
        )
    if cause:
        raise DatasetError(f'{file}: the boxes are not what they should be.{cause}')
    if counts.strayed > MAX_LEFT_OUT_SHARE * total:
        unit = counts.unit_masks > 0.5 * counts.strayed
        raise DatasetError(
            f'{file}: {counts.strayed} of {total} polygons do not begin within their boxes. '
            + (
                'Likely: they lie in 0..1, normalised; multiply x by the width and y by the height '
                'of the image.'
                if unit
                else 'Likely: they are of another image size than the boxes, or [y, x, ...].'
            )
        )
    summary.oddities.update(counts.left_out)


def _likely_cause(counts: _Counts) -> str:
    """Which other format the boxes have; empty where they look right."""
    total = counts.total
    if counts.units > MAX_LEFT_OUT_SHARE * total:
        return (
            f' Likely: {counts.units} of {total} boxes lie in 0..1, normalised as other tools '
            'write them; multiply x and width by the width of the image, y and height by its '
            'height (and where x and y are the centre, subtract half a size).'
        )
    often = counts.reaching > _CORNERS_REACHING_SHARE * total and counts.reaching > 1
    seem = counts.corners > 0.99 * total and often
    if seem or counts.corner_areas > MAX_LEFT_OUT_SHARE * total:
        return (
            f' Likely: they are [x1, y1, x2, y2] ({counts.reaching} of {total} reach out of their '
            'image, and their third and fourth number are larger than the first two); write [x1, '
            'y1, x2 - x1, y2 - y1].'
        )
    if counts.reaching > MAX_LEFT_OUT_SHARE * total:
        return (
            f' Likely: they are [x1, y1, x2, y2], or in units of another image size: '
            f'{counts.reaching} of {total} reach out of their image.'
        )
    return ''


def _other_type(identity: Any, content: dict[str, Any]) -> str:
    """Whether an unknown image id is one that is written otherwise in `images`."""
    for image in content['images']:
        if str(image['id']) == str(identity):
            return (
                f' Likely: image_id is {identity!r} where `images` has {image["id"]!r}: write both '
                'as a number.'
            )
    return ''
