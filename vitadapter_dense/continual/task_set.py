"""``TaskSet``: the samples of a data set that a task may see, with the labels that it may see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.registry import DATASETS

from vitadapter_dense.continual.class_presence import class_presence, kind_of
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.task_labels import TaskLabels
from vitadapter_dense.datasets.chosen_samples import ChosenSamples


@DATASETS.register_module()
class TaskSet(ChosenSamples):
    """Wraps any data set of MMDetection, MMSegmentation or MMPretrain, wrapped ones too.

    Labels keep their numbers. `TaskLabels` is put into the pipelines of the data sets inside, which
    belong to this one from then on.

    Args:
        dataset: config of the set, or the set itself.
        labelled: labels that the task sees; all others are as if they were not there.
        having: a sample must have one of them; None takes every sample.
        without: a sample must have none of them.
        background: label of pixels whose class is not labelled; None ignores them.
        cache: file for what the label maps hold, so that they are read once for all tasks.
        lazy_init: fill it later, with `full_init`.

    Raises:
        ScheduleError: when it is filled, for a set without samples of the task or without labels.
    """

    def __init__(
        self,
        dataset: Any,
        labelled: Sequence[int],
        *,
        having: Sequence[int] | None = None,
        without: Sequence[int] = (),
        background: int | None = None,
        cache: str | None = None,
        lazy_init: bool = False,
    ) -> None:
        self.labels = TaskLabels(labelled, having=having, without=without, background=background)
        self.cache = cache
        super().__init__(dataset, lazy_init=lazy_init)

    def choose(self) -> np.ndarray:
        """Those that the task may see; their pipelines are given its labels."""
        kind = kind_of(self.dataset)
        if self.labels.having is None and not self.labels.without:
            chosen = np.arange(len(self.dataset))
        else:
            chosen = self.labels.chosen(class_presence(self.dataset, cache=self.cache))
        if not chosen.size:
            names = [self.metainfo['classes'][label] for label in sorted(self.labels.having or ())]
            raise ScheduleError(
                f'no sample of {type(self.dataset).__name__} has one of {", ".join(names)} and no '
                'class that must not be there. Mend: other groups, or protocol="overlap"'
            )
        for leaf in _leaves(self.dataset):
            steps = leaf.pipeline.transforms
            steps.insert(_place(steps, type(leaf)) if kind == 'segmentation' else 0, self.labels)
        return chosen

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What the set says of a sample before it is read; objects of other tasks are left out."""
        info = super().get_data_info(index)
        return self.labels(info) if 'instances' in info else info

    def get_cat_ids(self, index: int) -> list[int]:
        """The labels of a sample that the task sees."""
        info = self.get_data_info(index)
        if 'instances' in info:
            return [one['bbox_label'] for one in info['instances']]
        return super().get_cat_ids(index)

    def _labels_of_images(self) -> np.ndarray:
        self.full_init()
        return np.asarray(self.dataset.get_gt_labels(), np.int64)[self._chosen]

    def __getattr__(self, name: str) -> Any:
        # hooks ask a set what it is by what it has; not there yet while unpickling in a worker
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        found = getattr(self.dataset, name)
        return self._labels_of_images if name == 'get_gt_labels' else found


def _leaves(dataset: Any) -> Iterator[Any]:
    """The data sets inside, which have a pipeline; the same one once."""
    inner = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]
    inner = list({id(one): one for one in inner if one is not None}.values())
    if not inner:
        yield dataset
    for one in inner:
        yield from _leaves(one)


def _place(steps: Sequence[Any], kind: type) -> int:
    """Where a pipeline has read the label map."""
    for number, step in enumerate(steps):
        if 'LoadAnnotations' in type(step).__name__:
            return number + 1
    raise ScheduleError(
        f"the pipeline of {kind.__name__} has no step that loads annotations, after which a task's "
        "labels are chosen. Mend: dict(type='LoadAnnotationsChecked') after the image is loaded"
    )
