"""``FrequencyGroupsHook``: results of classes that are frequent in training, rare, or in between.

Classifiers: many-, medium- and few-shot accuracy (Liu et al., CVPR 2019,
https://arxiv.org/abs/1904.05160): more than 100 training images, 20 to 100, less than 20.
Detectors: AP of frequent, common and rare categories (LVIS, Gupta et al., CVPR 2019,
https://arxiv.org/abs/1908.03195): more than 100 training images with such an object, 11 to 100, 10
or less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from vitadapter_dense.datasets.class_frequency import training_images
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.coco_classes import ClassPrecisions

# Name and least number of training images of each group, from the largest down.
SHOTS = (('many', 101), ('medium', 20), ('few', 0))
FREQUENCIES = (('frequent', 101), ('common', 11), ('rare', 0))
_AP = {'box AP': 'coco/bbox_mAP', 'mask AP': 'coco/segm_mAP'}


def group_means(
    values: Sequence[float], counts: Sequence[int], groups: Sequence[tuple[str, int]]
) -> dict[str, float]:
    """The mean over the classes of each group; groups without a value are left out.

    Args:
        values: of every class; NaN for one that was not evaluated.
        counts: training images of every class.
        groups: name and least number of training images, from the largest down.
    """
    found, known = np.asarray(values, float), np.asarray(counts)
    taken, means = np.isnan(found), {}
    for name, least in groups:
        own = (known >= least) & ~taken
        taken |= own
        if own.any():
            means[name] = float(found[own].mean())
    return means


@HOOKS.register_module()
class FrequencyGroupsHook(Hook):
    """Adds the results of groups of classes to those of a test or a validation.

    `accuracy/many`, `accuracy/medium` and `accuracy/few` of `ClassAccuracy`;
    `coco/bbox_mAP_frequent`, `_common` and `_rare`, and so of masks, of a COCO metric. Groups
    without a class that was evaluated are left out. The training set is that of the configuration.

    Attributes:
        counts: training images of every class, by its name.

    Raises:
        DatasetError: before the first image, where there is nothing to count or to group.
    """

    priority = 'NORMAL'  # before the results are logged

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._precisions = ClassPrecisions()
        self._prepared: set[int] = set()

    def before_val(self, runner: Runner) -> None:
        """Counts, once."""
        self._prepare(runner, runner.val_evaluator.metrics, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Counts, once."""
        self._prepare(runner, runner.test_evaluator.metrics, runner.test_dataloader.dataset)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Adds what was found for the groups."""
        self._add(metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Adds what was found for the groups."""
        self._add(metrics)

    def counts_of(self, classes: Sequence[str]) -> list[int]:
        """Training images of these classes."""
        return [self.counts.get(name, 0) for name in classes]

    def _prepare(self, runner: Runner, metrics: Sequence[Any], dataset: Any) -> None:
        self.counts = self.counts or training_images(runner.cfg)
        classes = dataset.metainfo.get('classes', ())
        if not set(classes) & set(self.counts):
            raise DatasetError('no class that is evaluated is in the training set')
        new = [metric for metric in metrics if id(metric) not in self._prepared]
        self._prepared |= {id(metric) for metric in new}
        self._precisions.listen(new)
        for metric in new:
            if hasattr(metric, 'set_counts'):
                metric.set_counts(self.counts_of(classes))

    def _add(self, metrics: dict[str, Any] | None) -> None:
        found: Mapping[str, Sequence[float]] = self._precisions.values
        counts, added = self.counts_of(self._precisions.classes), {}
        for column, name in _AP.items():
            if column in found:
                means = group_means(found[column], counts, FREQUENCIES)
                added |= {f'{name}_{group}': value for group, value in means.items()}
        told = [added]
        broadcast_object_list(told)  # the first process alone evaluates
        if metrics is not None:
            metrics.update(told[0])
