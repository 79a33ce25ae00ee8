"""Ends a segmentation run, with the file's name, where labels and classes do not fit each other.

MMSegmentation trains a head of 150 classes on data of 20 without a word, its IoU leaves labels
beyond the classes out of the count, and its loss ends with an index error on the CPU and with a
failed assertion somewhere later on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from vitadapter_dense.datasets.check_heads import find_disagreements
from vitadapter_dense.datasets.check_losses import doubtful_losses
from vitadapter_dense.datasets.errors import DatasetError


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Compares the heads with the data set's classes, and every batch's labels with them.

    The labels are looked at on the CPU, before the model gets them.

    Raises:
        DatasetError: when a head's number of classes or of class weights does not fit the data
            set, a loss cannot be computed where pixels are ignored, a label is beyond the
            classes and not ignored, or an image has more classes than the head has queries.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        self._check_heads(runner, runner.train_dataloader, trains=True)
        for doubt in doubtful_losses(runner.cfg.get('model') or {}):
            print_log(doubt, logger='current', level=logging.WARNING)

    def before_val(self, runner: Runner) -> None:
        self._check_heads(runner, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        self._check_heads(runner, runner.test_dataloader)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        metainfo = runner.train_dataloader.dataset.metainfo
        check_labels(data_batch, metainfo)
        head = (runner.cfg.get('model') or {}).get('decode_head')
        if isinstance(head, Mapping):
            check_queries(data_batch, metainfo, head.get('num_queries'))

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        check_labels(data_batch, runner.val_dataloader.dataset.metainfo)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        check_labels(data_batch, runner.test_dataloader.dataset.metainfo)

    @staticmethod
    def _check_heads(runner: Runner, loader: Any, *, trains: bool = False) -> None:
        classes = loader.dataset.metainfo.get('classes')
        model = runner.cfg.get('model') or {}
        found = find_disagreements(model, classes, trains=trains) if classes else ()
        if found:
            raise DatasetError(' '.join(found))


def check_labels(data_batch: Any, metainfo: Mapping[str, Any]) -> None:
    """Raise when a label of a batch is beyond the classes.

    Args:
        data_batch: what a loader gives: a mapping with `data_samples`, for test-time augmentation
            one list of them for each view.
        metainfo: the data set's; nothing is checked without `classes`.
    """
    classes = metainfo.get('classes')
    if classes is None or not isinstance(data_batch, Mapping):
        return
    for sample in _flat(data_batch.get('data_samples') or ()):
        labels = sample.gt_sem_seg.data if 'gt_sem_seg' in sample else None
        if labels is None:
            continue
        beyond = labels[(labels >= len(classes)) & (labels != 255)]
        if beyond.numel():
            raise DatasetError(_beyond(sample, beyond, metainfo))


def check_queries(data_batch: Any, metainfo: Mapping[str, Any], queries: int | None) -> None:
    """Raise when an image of a batch has more classes than a mask head has queries.

    MMSegmentation's Mask2Former would leave some of them out without a word.

    Args:
        data_batch: what a loader gives for training.
        metainfo: the data set's.
        queries: of the head, if it has any.
    """
    classes = metainfo.get('classes')
    if None in (queries, classes) or queries >= len(classes) or not isinstance(data_batch, Mapping):
        return
    for sample in _flat(data_batch.get('data_samples') or ()):
        labels = sample.gt_sem_seg.data.unique() if 'gt_sem_seg' in sample else ()
        present = sum(label != 255 for label in labels)
        if present > queries:
            raise DatasetError(
                f'{sample.get("img_path")} has {present} classes, but model.decode_head.num_queries'
                f' is {queries}: some would never be learnt. Mend: num_queries={len(classes)}, the '
                'number of classes, is always enough.'
            )


def _flat(samples: Any) -> list[Any]:
    if isinstance(samples, (list, tuple)):
        return [leaf for sample in samples for leaf in _flat(sample)]
    return [samples]


def _beyond(sample: Any, beyond: torch.Tensor, metainfo: Mapping[str, Any]) -> str:
    shift = 1 if metainfo.get('reduce_zero_label') else 0
    last = len(metainfo['classes']) - 1 + shift
    values, counts = beyond.unique(return_counts=True)
    found = zip(values.tolist(), counts.tolist(), strict=True)
    shown = ', '.join(f'{value + shift} ({count} pixels)' for value, count in list(found)[:5])
    ignored = '0 and 255 are' if shift else '255 is'
    mend = (
        'correct the maps, metainfo.classes, or reduce_zero_label=True in the data set'
        if shift
        else 'where the classes are numbered from 1, set reduce_zero_label=True in the data set; '
        'otherwise correct the maps or metainfo.classes'
    )
    return (
        f'label map {sample.get("seg_map_path") or sample.get("img_path")} has labels that are no '
        f'class: {shown}. With {len(metainfo["classes"])} classes the files may hold {shift} to '
        f'{last}; {ignored} ignored. Mend: {mend}. tools/dataset/check_dataset.py lists every '
        'such label.'
    )
