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
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import MMLogger, print_log

from .check_batches import find_batch_problems
from .check_choices import find_few_cells
from .check_classes import ClassifiedSet, find_class_faults, list_classified
from .check_config import inspect_config
from .check_image_files import check_image_files
from .check_overlap import find_shared_images
from .check_panoptic import inspect_used_panoptic
from .check_queries import find_few_queries
from .check_segmentation import check_pairs, list_split
from .check_stuff_maps import find_stuff_faults
from .coco_summary import CocoSummary
from .dataset_configs import (
    UsedDataset,
    alone,
    check_layout,
    evaluated_leaves,
    is_classification,
    is_coco,
    is_panoptic,
    is_remote,
    is_segmentation,
    leaves,
    list_datasets,
    locate_coco,
)
from .decoding import ValueRange
from .errors import DatasetError
from .inspect_coco import inspect_coco_annotations, inspect_used_coco
from .loading import value_range_of

#: What a check has to say besides errors: the level of the log, and the text.
Remark = tuple[int, str]


@dataclasses.dataclass
class CheckedDataset:
    """What a check of a data set found: its image files, what a user should know, and counts."""

    files: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    summary: CocoSummary | None = None
    classes: ClassifiedSet | None = None


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
    summary = inspect_coco_annotations(
        ann_file,
        image_dir,
        classes,
        subset=subset,
        masks=masks,
        evaluated=evaluated,
        filter_cfg=filter_cfg,
    )
    if look_into_images:
        _look_into_images(summary, image_dir, value_range=value_range)
    _raise(summary)
    return summary


def _look_into_images(
    summary: CocoSummary, folder: str | os.PathLike, *, value_range: ValueRange | None
) -> None:
    """Read headers of the images and decode some, where there is nothing else to mend first."""
    if summary.problems:
        return
    try:
        summary.warnings += check_image_files(
            [os.path.join(folder, image['file_name']) for image in summary.images],
            sizes=[(image['width'], image['height']) for image in summary.images],
            value_range=value_range,
        )
    except DatasetError as error:
        summary.problems.say(str(error))


def _raise(summary: CocoSummary) -> None:
    if summary.problems:
        raise DatasetError('\n'.join(summary.problems.lines()))


def check_config_datasets(
    cfg: Mapping[str, Any], *, loaders: Sequence[str] = ('train', 'val', 'test')
) -> list[Remark]:
    """Check the data sets of a config's `{train,val,test}_dataloader`, the same files once.

    Also whether the model, the data sets and the evaluators fit each other, and what is evaluated
    as one batch can be.

    Returns:
        what a user should know, for `log_remarks`.

    Raises:
        DatasetError: for all that cannot be used.
    """
    datasets = list_datasets(cfg, loaders)
    for used in datasets:  # where nothing is there, that is what to say
        if not is_remote(used.cfg) and not is_classification(used.cfg):
            check_layout(used.cfg)
    found = inspect_config(cfg, datasets, loaders)
    if found.errors:
        raise DatasetError('\n'.join(found.errors))
    remarks: list[Remark] = []
    checked, problems = [], []
    for used in datasets:
        try:
            checked.append((used, check_used_dataset(used)))
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        raise DatasetError('\n'.join(problems))
    for used, result in checked:
        remarks += [(logging.INFO, str(result.summary))] if result.summary else []
        remarks += [(logging.WARNING, f'{used.name}: {text}') for text in result.warnings]
    problems = find_batch_problems(cfg, evaluated_leaves(cfg, loaders))
    classified = [(used, result.classes) for used, result in checked if result.classes]
    problems += find_class_faults(cfg.get('model') or {}, classified)
    for used, result in checked:
        if result.summary is None:
            continue
        model, steps = cfg.get('model') or {}, used.cfg.get('pipeline')
        problems += find_few_cells(model, steps, result.summary, name=used.name)
        if used.trained:
            problems += find_few_queries(model, result.summary)
            problems += find_stuff_faults(model, used, result.summary)
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


def check_used_dataset(used: UsedDataset) -> CheckedDataset:
    """Check the files of a plain data set.

    Of a `CocoDataset` the annotation file and the images are checked as `check_coco_annotations`
    does, of a `CocoPanopticDataset` as `check_panoptic.py` does, of images with label maps that the
    pairs are there and some maps can be used, of a classification set that its images are there; of
    any other type that its local folders are there
    and not empty. What is not on a local disk is left alone. Of all, headers of images are read and
    some decoded. A config that leaves out categories of its annotation file on purpose says so:
    `metainfo=dict(classes=..., subset=True)`.

    Raises:
        DatasetError: naming the file, the value and the mend.
    """
    leaf = used.cfg
    if is_remote(leaf):
        return CheckedDataset()
    if is_classification(leaf):
        listed = list_classified(leaf)
        value_range = value_range_of(leaf.get('pipeline'))
        turned = check_image_files(listed.files, value_range=value_range)
        warnings = [*listed.warnings(trained=used.trained), *turned]
        return CheckedDataset(list(listed.files), warnings, classes=listed)
    check_layout(leaf)
    if is_segmentation(leaf):
        split = list_split(leaf)
        warnings = check_pairs(split, value_range_of(leaf.get('pipeline')))
        return CheckedDataset([image for image, _ in split.pairs], warnings)
    if not is_coco(leaf) and not is_panoptic(leaf):
        return CheckedDataset()
    summary = inspect_used_panoptic(used) if is_panoptic(leaf) else inspect_used_coco(used)
    folder = locate_coco(leaf)[1]
    _look_into_images(summary, folder, value_range=value_range_of(leaf.get('pipeline')))
    _raise(summary)
    return CheckedDataset(
        [os.path.join(folder, name) for name in summary.image_names], summary.warnings, summary
    )
