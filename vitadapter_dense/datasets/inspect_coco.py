"""Look for everything that is wrong with a COCO file, and what is odd: nothing ends at the first.

What MMDetection handles itself (crowds, tiny boxes, boxes a little out of the image) is no problem;
it is counted in the summary.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .check_coco_content import check_categories, check_filter, check_images
from .check_ids import find_unusable_ids
from .check_instances import check_instances
from .coco_summary import CocoSummary, key_of
from .dataset_configs import QUICK_START, UsedDataset, locate_coco
from .errors import DatasetError


def inspect_coco_annotations(
    ann_file: str | os.PathLike,
    image_dir: str | os.PathLike,
    classes: Sequence[str],
    *,
    subset: bool = False,
    masks: bool = False,
    evaluated: bool = False,
    filter_cfg: Mapping[str, Any] | None = None,
) -> CocoSummary:
    """Look for all that is wrong with a file and the names of its images.

    Args: as of `check_coco_annotations`.

    Returns:
        the summary, whose `problems` say what cannot be used.

    Raises:
        DatasetError: the file cannot be read, or is none of COCO's.
    """
    ann_file, image_dir = Path(ann_file), Path(image_dir)
    content = _read(ann_file, annotations_needed=not evaluated)
    summary = CocoSummary(ann_file=str(ann_file))
    categories = check_categories(content, classes, summary=summary, subset=subset)
    summary.images = check_images(content, image_dir, summary=summary)
    usable = dict(content, categories=categories, images=summary.images)
    kept = {key_of(image['id']) for image in summary.images}
    listed = (image for image in content['images'] if isinstance(image, dict))
    learnt = check_instances(
        usable,
        classes,
        summary=summary,
        masks=masks,
        evaluated=evaluated,
        unusable_images={key_of(image.get('id')) for image in listed} - kept,
    )
    summary.most_objects = max(learnt.values(), default=0)
    unusable = None if summary.problems.by_kind else find_unusable_ids(usable)
    if unusable and evaluated:
        summary.problems.say(f'{ann_file}: {unusable}.')
    elif unusable:
        summary.warnings.append(f'{unusable}; training can use them, an evaluation could not')
    if filter_cfg is not None and not summary.problems:
        check_filter(usable, classes, filter_cfg=filter_cfg, learnt=set(learnt), summary=summary)
    return summary


def _read(ann_file: Path, *, annotations_needed: bool) -> dict[str, Any]:
    if not ann_file.is_file():
        raise DatasetError(f'annotation file {ann_file} does not exist. {QUICK_START}')
    try:
        with ann_file.open(encoding='utf-8') as stream:
            content = json.load(stream)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise DatasetError(
            f'annotation file {ann_file} is not JSON ({error}): it may be cut off or compressed; '
            'fetch or unpack it again.'
        ) from error
    except OSError as error:
        raise DatasetError(f'annotation file {ann_file} cannot be read: {error}') from error
    keys = (
        ('images', 'annotations', 'categories') if annotations_needed else ('images', 'categories')
    )
    found = sorted(content) if isinstance(content, dict) else f'a {type(content).__name__}'
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DatasetError(
                f'annotation file {ann_file} has no list {key!r} (found: {found}): a COCO '
                f'instances file has {", ".join(keys)}; is it a captions, keypoints or results '
                'file?'
            )
    return content


def inspect_used_coco(used: UsedDataset) -> CocoSummary:
    """Look for all that is wrong with the file of a COCO data set, for what it is used for.

    Raises:
        DatasetError: the file cannot be read, or is none of COCO's.
    """
    leaf = used.cfg
    ann_file, folder, classes = locate_coco(leaf)
    summary = inspect_coco_annotations(
        ann_file,
        folder,
        classes,
        subset=bool((leaf.get('metainfo') or {}).get('subset', False)),
        masks=used.masks,
        evaluated=used.evaluated,
        filter_cfg=(leaf.get('filter_cfg') or {}) if used.trained else None,
    )
    if used.scored and not summary.num_annotations:
        summary.problems.say(
            f'{ann_file} has no annotations, and an evaluator of {used.name} counts them. Mend: '
            'format_only=True in the evaluator, or an annotation file with annotations.'
        )
    if summary.text_categories and any(metric.get('classwise') for metric in used.metrics):
        summary.problems.say(
            f'{ann_file}: category ids are texts, which an evaluator with classwise=True cannot '
            'look up. Mend: number the categories from 1, or classwise=False.'
        )
    return summary
