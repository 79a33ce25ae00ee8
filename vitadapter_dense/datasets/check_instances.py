"""What `check_coco.py` looks at in the annotations of a COCO file: boxes, areas, masks.

MMDetection leaves many annotations out without an error (`CocoDataset.parse_data_info`), and clips
what reaches out of an image. A few of these are in every data set; where they are most of one, its
units or its format are not what they should be, and that is an error with the likely cause.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence, Set
from typing import Any

from .coco_summary import CocoSummary, key_of, short, some
from .judge_annotations import (
    AREA,
    BROKEN,
    CROWD,
    IGNORE,
    NO_BOX,
    NO_POLYGON,
    SUBPIXEL,
    UNKNOWN,
    Counts,
    judge,
)


def check_instances(
    content: dict[str, Any],
    classes: Sequence[str],
    *,
    summary: CocoSummary,
    masks: bool,
    evaluated: bool,
    unusable_images: Set[Any] = frozenset(),
) -> Counter[Any]:
    """Boxes, areas, segmentations: what MMDetection and pycocotools read of an annotation.

    Args:
        content: of the file; its images and categories can be used.
        classes: the config's class names.
        summary: takes counts and problems.
        masks: every annotation needs a segmentation.
        evaluated: the file is for evaluation, too.
        unusable_images: ids of images that are not in `content`, whose annotations tell nothing.

    Returns:
        by the ids of the images that have some: their objects to learn.
    """
    file, problems = summary.ann_file, summary.problems
    annotations = content.get('annotations', [])
    summary.num_annotations = len(annotations)
    if not annotations and not evaluated:
        problems.say(
            f'{file}: the split is empty, `annotations` has no entries: nothing to train on'
        )
    needed = {'id', 'image_id', 'bbox', 'area'} | ({'iscrowd'} if evaluated else set())
    sizes = {key_of(image['id']): (image['width'], image['height']) for image in content['images']}
    used = {key_of(c['id']) for c in content['categories'] if c['name'] in set(classes)}
    ids: set[Any] = set()
    learnt: Counter[Any] = Counter()
    all_counts = {True: Counts(), False: Counts()}  # of the config's classes, and of the others
    for annotation in annotations:
        if not isinstance(annotation, dict) or not needed <= annotation.keys():
            found = annotation.keys() if isinstance(annotation, dict) else ()
            lacks = ', '.join(f'`{key}`' for key in sorted(needed - set(found)))
            problems.add(
                f'annotation without {lacks}',
                f'{file}: annotation {short(annotation)} has no {lacks}'
                + (' (0 for an ordinary object)' if 'iscrowd' in lacks else ''),
            )
            continue
        identity = key_of(annotation['id'])
        if identity in ids:
            text = f'{file}: annotation id {identity!r} is there twice; make it unique'
            problems.add('annotation id that is not unique', text)
        ids.add(identity)
        counts = all_counts[key_of(annotation.get('category_id')) in used]
        counts.total += 1
        image = key_of(annotation['image_id'])
        if image in unusable_images:
            continue
        size = sizes.get(image)
        if size is None:
            counts.leave_out(annotation, UNKNOWN)
            continue
        reason = _check_box(annotation, size, counts=counts, summary=summary)
        if reason in (BROKEN, NO_BOX):
            continue
        if masks and not annotation.get('segmentation'):
            problems.add(
                'object without a mask',
                f'{file}: annotation {identity!r} has no segmentation, and the config trains or '
                'evaluates masks. Add one, take the annotation out, or use a detector without a '
                'mask head.',
            )
            continue
        if masks:
            usable = _check_segmentation(annotation, size, counts=counts, summary=summary)
            if not usable:
                if usable is False and reason is None:
                    counts.leave_out(annotation, NO_POLYGON)
                continue
        if reason is None and counts is all_counts[True]:
            learnt[image] += 1
    judge(all_counts[True], content, summary=summary)
    if annotations and not all_counts[True].total and not problems:
        problems.say(
            f'{file}: none of its {len(annotations)} annotations is of a class of the config '
            f'({some(classes)}): nothing is left. Mend: name the categories of the annotations in '
            '`metainfo=dict(classes=...)`.'
        )
    return learnt


def _check_box(
    annotation: dict[str, Any],
    size: tuple[float, float],
    *,
    counts: Counts,
    summary: CocoSummary,
) -> str | None:
    """Why an annotation is left out, if it is; what cannot be a box is a problem."""
    box, area = annotation['bbox'], annotation['area']
    problems = summary.problems
    where = f'{summary.ann_file}: annotation {annotation["id"]!r}'
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        text = f'{where}: bbox={short(box)} must be four numbers [x, y, width, height]'
        problems.add('box that is not four numbers', text)
        return NO_BOX
    if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in (*box, area)):
        problems.add(
            'box or area that is no finite number',
            f'{where}: bbox={box!r} and area={area!r} must be finite numbers; a NaN here becomes a '
            'NaN loss. Mend it or take the annotation out.',
        )
        return NO_BOX
    x, y, w, h = box
    if w < 0 or h < 0:
        problems.add(
            'box of negative size',
            f'{where}: bbox={box!r} has a negative size; a box is [x, y, width, height]. Mend it '
            'or take the annotation out.',
        )
        return NO_BOX
    reason = None
    if annotation.get('iscrowd'):
        reason = CROWD
    elif annotation.get('ignore'):
        reason = IGNORE
    width, height = size
    inside_w = min(x + w, width) - max(x, 0)
    inside_h = min(y + h, height) - max(y, 0)
    if w == 0 or h == 0:
        counts.broken.append(f'annotation {annotation["id"]!r}: bbox={box!r} has no area')
        reason = BROKEN
    elif inside_w <= 0 or inside_h <= 0 or inside_w * inside_h < 0.5 * w * h:
        counts.broken.append(
            f'annotation {annotation["id"]!r}: bbox={box!r} is outside of its {width} x {height} '
            'image'
        )
        reason = BROKEN
    elif min(w, h) < 1:
        reason = SUBPIXEL
    elif area <= 0:
        reason = AREA
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
    counts: Counts,
    summary: CocoSummary,
) -> bool | None:
    """Whether MMDetection learns the mask; None, and a problem, for what is none."""
    problems = summary.problems
    mask = annotation['segmentation']
    where = f'{summary.ann_file}: annotation {annotation["id"]!r}'
    if isinstance(mask, dict):
        width, height = size
        if not mask.get('counts') or list(mask.get('size') or ()) != [height, width]:
            problems.add(
                'mask of another size',
                f'{where}: its run-length mask needs `counts` and the size of its image, '
                f'[{height}, {width}] (height, width), and has size={mask.get("size")!r}. Mend it '
                'or take the annotation out.',
            )
            return None
        runs = mask['counts']
        if isinstance(runs, list) and sum(runs) != width * height:
            problems.add(
                'mask of another number of pixels',
                f'{where}: the runs of its mask make {sum(runs)} pixels, and its image has '
                f'{width * height}. Mend it or take the annotation out.',
            )
            return None
    elif not isinstance(mask, list) or not all(isinstance(polygon, list) for polygon in mask):
        problems.add(
            'mask that is none',
            f'{where}: segmentation={short(mask)} must be a list of polygons, [[x, y, x, y, ...]], '
            'or a run-length mask. Mend it or take the annotation out.',
        )
        return None
    else:
        polygons = [p for p in mask if len(p) >= 6 and len(p) % 2 == 0]
        if not polygons:
            return False
        x, y, w, h = annotation['bbox']
        if not all(isinstance(n, (int, float)) for polygon in polygons for n in polygon[:2]):
            problems.add(
                'mask that is none',
                f'{where}: segmentation={short(mask)} holds what is no number. Mend it or take the '
                'annotation out.',
            )
            return None
        first, second = polygons[0][:2]
        slack_w, slack_h = 2 + 0.1 * w, 2 + 0.1 * h
        within = (
            x - slack_w <= first <= x + w + slack_w and y - slack_h <= second <= y + h + slack_h
        )
        counts.strayed += not within
        counts.unit_masks += not within and max(polygons[0]) <= 1
    return True
