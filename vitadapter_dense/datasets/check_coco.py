"""Check COCO annotation files and the data sets of a whole configuration before training.

MMDetection notices a missing image when it comes to it, perhaps hours later, and some mistakes
never: annotations of an unknown category are dropped, labels are numbered in the order of the
annotation file and not of the config, NaN boxes become NaN losses. Here a file is read once before
training, its images are looked up in one listing of their folder, and what cannot be used is a
`DatasetError`. What MMDetection handles itself (crowds, tiny boxes, boxes a little out of the
image) is no error; it is counted in the summary.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger, print_log

from .check_batches import find_batch_problems
from .check_coco_content import check_categories, check_filter, check_images
from .check_config import inspect_config
from .check_ids import find_unusable_ids
from .check_image_files import check_image_files
from .check_instances import check_instances
from .check_overlap import find_shared_images
from .check_segmentation import check_pairs, list_split
from .coco_summary import CocoSummary
from .dataset_configs import (
    QUICK_START,
    UsedDataset,
    alone,
    check_layout,
    evaluated_leaves,
    is_coco,
    is_remote,
    is_segmentation,
    leaves,
    list_datasets,
    locate_coco,
)
from .decoding import ValueRange
from .errors import DatasetError
from .loading import value_range_of

#: What a check has to say besides errors: the level of the log, and the text.
Remark = tuple[int, str]


@dataclasses.dataclass
class CheckedDataset:
    """What a check of a data set found: its image files, what a user should know, and counts."""

    files: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    summary: CocoSummary | None = None


def check_coco_annotations(
    ann_file: str | os.PathLike,
    image_dir: str | os.PathLike,
    classes: Sequence[str],
    *,
    subset: bool = False,
    masks: bool = False,
    evaluated: bool = False,
    filter_cfg: Mapping[str, Any] | None = None,
    look_into_images: bool = False,
    value_range: ValueRange | None = None,
) -> CocoSummary:
    """Check one split.

    Args:
        ann_file: COCO annotation file.
        image_dir: folder that its `file_name`s start from.
        classes: the config's class names, in its order.
        subset: the file may have annotations of categories that `classes` leaves out on purpose.
        masks: every annotation needs a segmentation.
        evaluated: the file is for evaluation: `iscrowd` is needed, and ids that pycocotools can
            use; a file without any `annotations` (COCO's test-dev) is enough.
        filter_cfg: the data set's, empty for none, where the file is for training: which images it
            leaves out becomes a warning of the summary.
        look_into_images: read headers of the images, and decode some.
        value_range: that of the pipeline's image loader.

    Returns:
        counts, and what was odd but can be used.

    Raises:
        DatasetError: naming the file, the value and the mend.
    """
    ann_file, image_dir = Path(ann_file), Path(image_dir)
    content = _read(ann_file, annotations_needed=not evaluated)
    summary = CocoSummary(ann_file=str(ann_file))
    check_categories(content, classes, summary=summary, subset=subset)
    check_images(content, image_dir, summary=summary)
    if look_into_images:
        summary.warnings += check_image_files(
            [str(image_dir / image['file_name']) for image in content['images']],
            sizes=[(image['width'], image['height']) for image in content['images']],
            value_range=value_range,
        )
    learnt = check_instances(content, classes, summary=summary, masks=masks, evaluated=evaluated)
    unusable = find_unusable_ids(content)
    if unusable and evaluated:
        raise DatasetError(f'{ann_file}: {unusable}.')
    if unusable:
        summary.warnings.append(f'{unusable}; training can use them, an evaluation could not')
    if filter_cfg is not None:
        check_filter(content, classes, filter_cfg=filter_cfg, learnt=learnt, summary=summary)
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


def check_config_datasets(
    cfg: Mapping[str, Any], *, loaders: Sequence[str] = ('train', 'val', 'test')
) -> list[Remark]:
    """Check the data sets of a config's `{train,val,test}_dataloader`, the same files once.

    Also whether the model, the data sets and the evaluators fit each other, and what is evaluated
    as one batch can be.

    Returns:
        what a user should know, for `log_remarks`.

    Raises:
        DatasetError: for the first that cannot be used.
    """
    datasets = list_datasets(cfg, loaders)
    for used in datasets:  # where nothing is there, that is what to say
        if not is_remote(used.cfg):
            check_layout(used.cfg)
    found = inspect_config(cfg, datasets, loaders)
    if found.errors:
        raise DatasetError('\n'.join(found.errors))
    remarks: list[Remark] = []
    checked = [(used, check_used_dataset(used)) for used in datasets]
    for used, result in checked:
        remarks += [(logging.INFO, str(result.summary))] if result.summary else []
        remarks += [(logging.WARNING, f'{used.name}: {text}') for text in result.warnings]
    problems = find_batch_problems(cfg, evaluated_leaves(cfg, loaders))
    if problems:
        raise DatasetError('\n'.join(problems))
    shared = find_shared_images((used, result.files) for used, result in checked)
    return remarks + [(logging.WARNING, text) for text in (*found.warnings, *shared)]


def log_remarks(remarks: Sequence[Remark], *, logger: MMLogger | str = 'current') -> None:
    """Write what a check has to say into a run's log."""
    for level, text in remarks:
        print_log(text, logger=logger, level=level)


def check_dataset_config(dataset_cfg: Mapping[str, Any]) -> list[CocoSummary]:
    """Check what a data set config of MMEngine, wrapped or not, refers to.

    Returns:
        one summary for each data set of a COCO file; its oddities are logged.

    Raises:
        DatasetError: naming the file, the value and the mend.
    """
    summaries = []
    for leaf in leaves(dataset_cfg):
        result = check_used_dataset(alone(leaf))
        remarks = [(logging.WARNING, text) for text in result.warnings]
        if result.summary:
            summaries.append(result.summary)
            remarks.insert(0, (logging.INFO, str(result.summary)))
        log_remarks(remarks)
    return summaries


def check_used_dataset(used: UsedDataset, *, look_into_images: bool = True) -> CheckedDataset:
    """Check the files of a plain data set.

    Of a `CocoDataset` the annotation file and the images are checked as `check_coco_annotations`
    does, of images with label maps that the pairs are there and some maps can be used; of any other
    type that its local folders are there and not empty. What is not on a local disk is left alone.
    Of all, headers of images are read and some decoded, unless `look_into_images` is off. A config
    that leaves out categories of its annotation file on purpose says so:
    `metainfo=dict(classes=..., subset=True)`.

    Raises:
        DatasetError: naming the file, the value and the mend.
    """
    leaf = used.cfg
    if is_remote(leaf):
        return CheckedDataset()
    check_layout(leaf)
    if is_segmentation(leaf):
        split = list_split(leaf)
        warnings = check_pairs(split, value_range_of(leaf.get('pipeline')))
        return CheckedDataset([image for image, _ in split.pairs], warnings)
    if not is_coco(leaf):
        return CheckedDataset()
    ann_file, folder, classes = locate_coco(leaf)
    summary = check_coco_annotations(
        ann_file,
        folder,
        classes,
        subset=bool((leaf.get('metainfo') or {}).get('subset', False)),
        masks=used.masks,
        evaluated=used.evaluated,
        filter_cfg=(leaf.get('filter_cfg') or {}) if used.trained else None,
        look_into_images=look_into_images,
        value_range=value_range_of(leaf.get('pipeline')),
    )
    if used.scored and not summary.num_annotations:
        raise DatasetError(
            f'{ann_file} has no annotations, and an evaluator of {used.name} counts them. Mend: '
            'format_only=True in the evaluator, or an annotation file with annotations.'
        )
    if summary.text_categories and any(metric.get('classwise') for metric in used.metrics):
        raise DatasetError(
            f'{ann_file}: category ids are texts, which an evaluator with classwise=True cannot '
            'look up. Mend: number the categories from 1, or classwise=False.'
        )
    return CheckedDataset(
        [os.path.join(folder, name) for name in summary.image_names], summary.warnings, summary
    )
