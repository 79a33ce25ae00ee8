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


def training_config(
    cfg: Config,
    settings: ContinualSettings,
    schedule: ClassSchedule,
    task: int,
    *,
    folder: Path,
    previous: Path | None,
) -> Config:
    """The run that trains a task.

    Args:
        cfg: of the sequence.
        settings: read from it.
        schedule: by which is trained.
        task: its number.
        folder: the run's work directory.
        previous: the last task's checkpoint; None in the first task, which begins as `cfg` says.
    """
    cfg = copy.deepcopy(cfg)
    if task > 0:
        cfg.merge_from_dict(dict(settings.later))
    _name(cfg, folder, task)
    labels = settings.training_labels(schedule, task)
    cfg.train_dataloader.dataset = dict(
        type=TaskSet.__name__,
        dataset=cfg.train_dataloader.dataset,
        labelled=sorted(labels.labelled),
        having=sorted(labels.having),
        without=sorted(labels.without),
        background=labels.background,
        cache=_cache(folder, 'train'),
    )
    if cfg.get('val_dataloader'):
        _show_seen(cfg, 'val', schedule, task, folder=folder)
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.resume = False
    checkpoints = (cfg.get('default_hooks') or {}).get('checkpoint')
    if checkpoints:
        checkpoints.save_best = None  # no task is chosen by what is seen of it in training
    if previous is not None:
        cfg.load_from = str(previous)
    _add_hook(cfg, task, previous)
    return cfg


def test_config(
    cfg: Config,
    schedule: ClassSchedule,
    task: int,
    *,
    kind: Kind,
    folder: Path,
    checkpoint: Path,
) -> Config:
    """The run that scores a task's checkpoint on all classes seen so far, in one pass."""
    cfg = copy.deepcopy(cfg)
    if not cfg.get('test_dataloader'):
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_evaluator = evaluator_of(kind, cfg.test_evaluator)
    cfg.test_cfg = dict(type='TestLoop')
    _name(cfg, folder, task)
    if kind != 'detection':  # COCO's metric reads its own file, and counts class by class
        _show_seen(cfg, 'test', schedule, task, folder=folder)
    for part in ('dataloader', 'cfg', 'evaluator'):
        cfg[f'val_{part}'] = None
        if part != 'evaluator':
            cfg[f'train_{part}'] = None
    cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.load_from, cfg.resume = str(checkpoint), False
    _add_hook(cfg, task, None)
    return cfg


def _show_seen(
    cfg: Config, loader: str, schedule: ClassSchedule, task: int, *, folder: Path
) -> None:
    """Has an evaluation look at the classes seen so far: images, or pixels, of others are none."""
    whole = cfg[f'{loader}_dataloader']
    pixels = cfg.get('default_scope') == 'mmseg'
    if cfg.get('default_scope') == 'mmdet':
        return
    seen = sorted(schedule.seen(task))
    whole.dataset = dict(
        type=TaskSet.__name__,
        dataset=whole.dataset,
        labelled=seen,
        having=None if pixels else seen,
        background=schedule.background,
        cache=_cache(folder, loader),
    )


def _name(cfg: Config, folder: Path, task: int) -> None:
    cfg.work_dir = str(folder)
    cfg.experiment_name = f'{folder.parent.name}_task_{task:02d}'


def _cache(folder: Path, loader: str) -> str:
    """Beside the tasks, of which each reads it."""
    return str(folder.parent.parent / f'classes_{loader}.npz')


def _add_hook(cfg: Config, task: int, previous: Path | None) -> None:
    hook: dict[str, Any] = dict(type=TaskHook.__name__, task=task)
    if previous is not None:
        hook['previous'] = str(previous)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or ()), hook]
