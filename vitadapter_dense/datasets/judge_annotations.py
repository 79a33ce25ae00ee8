"""What the annotations of a COCO file, counted, say of the whole: a wrong unit, another format.

A few boxes that are left out are in every data set. Where they are most of one, its units or its
format are not what they should be, and the likely cause is named.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from .coco_summary import CocoSummary, short

#: MMDetection drops a box of no area or outside of its image. COCO has a few; more are a mistake.
MAX_DROPPED_SHARE = 1e-3
#: A data set of which more is left out, or reaches out of its images, is not what it should be.
MAX_LEFT_OUT_SHARE = 0.5
#: Boxes that are [x1, y1, x2, y2] reach out of the image about as often as not.
_CORNERS_REACHING_SHARE = 0.1
_SHOWN = 5

SUBPIXEL = 'objects of less than a pixel, which are dropped'
AREA = 'objects whose area is not positive, which are dropped'
CROWD = 'crowd regions'
IGNORE = 'objects with `ignore`, which are dropped'
UNKNOWN = 'annotations of images that are not in the file'
NO_BOX = 'what is no box, and a problem of its own'
BROKEN = 'boxes of no area or outside of the image'
NO_POLYGON = 'objects without a polygon of three points, which are ignored'
_MENDS = {
    SUBPIXEL: 'a box is [x, y, width, height] in pixels of the image',
    AREA: 'MMDetection drops them: write the area of the mask, or width * height',
    CROWD: '`iscrowd` marks groups, which are neither learnt nor counted; a single object has 0, '
    'whichever way its mask is written',
    IGNORE: 'take `ignore` out of the annotations that are to be learnt',
    UNKNOWN: 'their image_id must be the `id` of an entry of `images`; is it the file of this '
    'split?',
    NO_POLYGON: 'a polygon is [x1, y1, x2, y2, x3, y3, ...]; where the tool wrote boxes alone, '
    'use a detector without a mask head',
}


@dataclasses.dataclass
class Counts:
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


def judge(counts: Counts, content: dict[str, Any], *, summary: CocoSummary) -> None:
    """A problem where most of the annotations cannot be meant; the rest is in the summary."""
    problems = summary.problems
    file, broken, total = summary.ann_file, counts.broken, counts.total
    lost = sum(counts.left_out.values())
    cause = _likely_cause(counts)
    if len(broken) > MAX_DROPPED_SHARE * total:
        problems.say(
            f'{file}: {len(broken)} of {total} boxes are broken: {"; ".join(broken[:_SHOWN])}. A '
            f'box is [x, y, width, height] in pixels of the image.{cause} Mend them or take the '
            'annotations out.'
        )
        return
    if lost > MAX_LEFT_OUT_SHARE * total:
        reason, number = counts.left_out.most_common(1)[0]
        cause = cause or f' Likely: {_MENDS[reason]}.'
        if reason == UNKNOWN:
            cause = _other_type(counts.examples[reason]['image_id'], content) or cause
        problems.say(
            f'{file}: {lost} of {total} annotations would be left out, {number} of them as '
            f'{reason}, first {short(counts.examples[reason])}.{cause}'
        )
        return
    if cause:
        problems.say(f'{file}: the boxes are not what they should be.{cause}')
        return
    if counts.strayed > MAX_LEFT_OUT_SHARE * total:
        unit = counts.unit_masks > 0.5 * counts.strayed
        problems.say(
            f'{file}: {counts.strayed} of {total} polygons do not begin within their boxes. '
            + (
                'Likely: they lie in 0..1, normalised; multiply x by the width and y by the height '
                'of the image.'
                if unit
                else 'Likely: they are of another image size than the boxes, or [y, x, ...].'
            )
        )
    summary.oddities.update(counts.left_out)


def _likely_cause(counts: Counts) -> str:
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
