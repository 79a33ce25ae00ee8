"""The configuration of one task, made from that of the whole sequence."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vitadapter_dense.continual.class_presence import Kind
from vitadapter_dense.continual.schedule import ClassSchedule
from vitadapter_dense.continual.scores import evaluator_of
from vitadapter_dense.continual.settings import ContinualSettings
from vitadapter_dense.continual.task_hook import TaskHook
from vitadapter_dense.continual.task_set import TaskSet


def task_config(
    cfg: Config,
    settings: ContinualSettings,
    schedule: ClassSchedule,
    task: int,
    *,
    kind: Kind,
    folder: Path,
    previous: Path | None,
) -> Config:
    """The run that trains a task, and tests it on all classes seen so far, in one pass.

    Args:
        cfg: of the sequence.
        settings: read from it.
        schedule: by which is trained.
        task: its number.
        kind: of the data set.
        folder: the run's work directory.
        previous: the last task's checkpoint; None in the first task, which begins as `cfg` says.
    """
    cfg = copy.deepcopy(cfg)
    if task > 0:
        cfg.merge_from_dict(dict(settings.later))
    if settings.freeze_rest:
        # several processes wait in vain for what TaskHook freezes, and in the first task for what
        # a model has for later ones
        cfg.find_unused_parameters = True
    cfg.work_dir = str(folder)
    cfg.experiment_name = f'{folder.parent.name}_{folder.name}'
    if cfg.get('visualizer'):
        # of one name MMEngine has one: its files of figures would stay those of the first task
        cfg.visualizer.pop('name', None)
    labels = settings.training_labels(schedule, task)
    cfg.train_dataloader.dataset = dict(
        type=TaskSet.__name__,
        dataset=cfg.train_dataloader.dataset,
        labelled=sorted(labels.labelled),
        having=sorted(labels.having),
        without=sorted(labels.without),
        background=labels.background,
        cache=str(cache_of(folder.parent.parent, 'train')),
    )
    if not cfg.get('test_dataloader'):
        cfg.test_dataloader = copy.deepcopy(cfg.val_dataloader)
        cfg.test_evaluator = cfg.get('val_evaluator')
    later = schedule.names(schedule.future(task))
    cfg.test_evaluator = evaluator_of(kind, cfg.get('test_evaluator'), later=later)
    cfg.test_cfg = cfg.get('test_cfg') or dict(type='TestLoop')
    for loader in ('val', 'test'):
        if kind in ('classification', 'segmentation') and cfg.get(f'{loader}_dataloader'):
            _show_seen(cfg[f'{loader}_dataloader'], kind, schedule, task)
    checkpoints = (cfg.get('default_hooks') or {}).get('checkpoint')
    if checkpoints:
        checkpoints.save_best = None  # no task is chosen by what is seen of it in training
    cfg.resume = False
    hook: dict[str, Any] = dict(type=TaskHook.__name__, task=task)
    if previous is not None:
        cfg.load_from = hook['previous'] = str(previous)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or ()), hook]
    return cfg


def cache_of(work_dir: Path, loader: str) -> Path:
    """Where a sequence keeps which classes the images of a loader have."""
    return work_dir / f'classes_{loader}.npz'


def _show_seen(loader: Any, kind: Kind, schedule: ClassSchedule, task: int) -> None:
    """Has an evaluation look at the classes seen so far: images, or pixels, of others are none.

    COCO's metrics read their own files.
    """
    seen = sorted(schedule.seen(task))
    loader.dataset = dict(
        type=TaskSet.__name__,
        dataset=loader.dataset,
        labelled=seen,
        having=None if kind == 'segmentation' else seen,
        background=schedule.background,
    )
