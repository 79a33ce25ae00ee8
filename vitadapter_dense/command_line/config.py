"""Changing a configuration as the command line asks, for every tool and both toolboxes.

MMEngine evaluates a configuration file when it reads it: `data_root` has by then been copied into
every loader and evaluator, so that overriding the variable changes nothing. The functions here do
what a user means by `--data-root`, `--amp` and the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config, ConfigDict

from vitadapter_cli import default_work_dir
from vitadapter_cli.options import LOADERS
from vitadapter_dense.training.float32_predictions import Float32PredictionsHook

NOT_DATA = ('load_from', 'work_dir', 'custom_imports')


def override_data_root(cfg: Config, root: str | Path) -> str:
    """Points every loader, evaluator and pipeline of a configuration to another data folder.

    Every string that lies under the old `data_root` is rewritten: `data_root` of plain and wrapped
    datasets, `ann_file` of evaluators, and prefixes that carry the whole path.

    Args:
        root: the new folder.

    Returns:
        The old root.

    Raises:
        ValueError: when the configuration names no data root, or several and none of them at the
        top level.
    """
    old = cfg.get('data_root') or _single_root(cfg)
    new = str(root).rstrip('/') + '/'
    for key, value in cfg.items():
        if key not in NOT_DATA:
            cfg[key] = _rebase(value, old, new)
    if 'data_root' in cfg:
        cfg.data_root = new
    return old


def iter_datasets(dataset: Any) -> Iterator[ConfigDict]:
    """Yields the plain datasets inside a dataset configuration, wrappers opened.

    Args:
        dataset: the `dataset` entry of a loader; `RepeatDataset`, `ConcatDataset` and their kin are
        looked into.
    """
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from iter_datasets(item)
    elif isinstance(dataset, Mapping):
        inner = dataset.get('dataset') or dataset.get('datasets')
        if inner:
            yield from iter_datasets(inner)
        else:
            yield dataset


def apply_amp(cfg: Config, dtype: Literal['float16', 'bfloat16']) -> None:
    """Switches the optimiser wrapper to automatic mixed precision, on the CPU as on a GPU.

    Args:
        dtype: the type that autocast computes in.

    Raises:
        ValueError: when the wrapper in the configuration is of a kind that cannot be replaced, or
            for float16 without a GPU.
    """
    if dtype == 'float16' and not torch.cuda.is_available():
        raise ValueError('--amp float16 needs a GPU; on the CPU use --amp bfloat16.')
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        raise ValueError('--amp needs an `optim_wrapper` in the configuration.')
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper'):
        raise ValueError(
            '--amp replaces OptimWrapper by AutocastOptimWrapper, but optim_wrapper.type is '
            f'{kind!r}; set the precision in the configuration itself.'
        )
    wrapper.type = 'AutocastOptimWrapper'
    wrapper.dtype = dtype
    add_hook(cfg, dict(type=Float32PredictionsHook.__name__))


def enable_auto_scale_lr(cfg: Config) -> None:
    """Turns the linear scaling of the learning rate with the batch size on.

    Raises:
        ValueError: when the configuration does not say for which batch size its learning rate is
        meant.
    """
    scale = cfg.get('auto_scale_lr')
    if not scale or 'base_batch_size' not in scale:
        raise ValueError(
            '--auto-scale-lr needs `auto_scale_lr = dict(base_batch_size=...)` in the '
            'configuration: the batch size over all devices for which its learning rate is meant.'
        )
    scale.enable = True


def auto_backend(cfg: Config) -> str:
    """Chooses the communication backend that this machine can run: gloo where there is no GPU.

    Returns:
        The backend's name, also written to `env_cfg.dist_cfg.backend`.
    """
    env_cfg = cfg.setdefault('env_cfg', ConfigDict())
    dist_cfg = env_cfg.setdefault('dist_cfg', ConfigDict(backend='nccl'))
    if not torch.cuda.is_available():
        dist_cfg.backend = 'gloo'
    return dist_cfg.setdefault('backend', 'nccl')


def set_work_dir(cfg: Config, config_path: str | Path, *, work_dir: str | Path | None) -> str:
    """Decides where results go: the argument, else the configuration says it, else the default."""
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(default_work_dir(config_path))
    return cfg.work_dir


def set_iterations(cfg: Config, iters: int) -> None:
    """Makes a training by iterations as long as that: what follows its length does so.

    The warm-up stays, the last schedules end with the training, and masked attention is annealed
    away at the same shares of it.
    """
    before = cfg.train_cfg.max_iters
    cfg.train_cfg.max_iters = iters
    for part in cfg.param_scheduler[1:]:
        part.update(end=iters, T_max=iters)
    for hook in cfg.get('custom_hooks') or ():
        if hook.type == 'MaskAnnealingHook':
            hook.start = [step * iters // before for step in hook.start]
            pairs = zip(hook.start, hook.end, strict=True)
            hook.end = [max(step * iters // before, start + 1) for start, step in pairs]


def leave_out_idle_loops(cfg: Config) -> None:
    """Leaves out the training and the validation of a configuration that has no data for them.

    MMEngine wants a loop's parts all or none, and ImageNet-A, for one, is there to test on alone.
    """
    for loop, others in dict(train=('optim_wrapper',), val=('val_evaluator',)).items():
        if cfg.get(f'{loop}_dataloader') is None:
            cfg.update(dict.fromkeys((f'{loop}_cfg', *others)))
    if cfg.get('train_cfg') is None:
        cfg.param_scheduler = None
    cfg.test_cfg = cfg.get('test_cfg') or dict(type='TestLoop')


def add_hook(cfg: Config, hook: Mapping[str, Any]) -> None:
    """Adds a custom hook unless one of that type is there already."""
    hooks = list(cfg.get('custom_hooks') or [])
    if not any(present.get('type') == hook['type'] for present in hooks):
        cfg.custom_hooks = [*hooks, dict(hook)]


def _rebase(value: Any, old: str, new: str) -> Any:
    """Rewrites every string under `old` in nested containers; mappings are changed in place."""
    if isinstance(value, str):
        if value.rstrip('/') == old.rstrip('/'):
            return new
        prefix = old.rstrip('/') + '/'
        return new + value[len(prefix) :].lstrip('/') if value.startswith(prefix) else value
    if isinstance(value, Mapping):
        for key in value:
            value[key] = _rebase(value[key], old, new)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_rebase(item, old, new) for item in value)
    return value


def _single_root(cfg: Config) -> str:
    roots = set()
    for name in LOADERS:
        for dataset in iter_datasets((cfg.get(name) or {}).get('dataset')):
            roots.add(dataset.get('data_root') or '')
    roots.discard('')
    if len(roots) != 1:
        found = ', '.join(sorted(roots)) or 'none'
        raise ValueError(
            'The data folder cannot be overridden: the configuration needs one `data_root`, at '
            f'the top level or shared by its datasets (found: {found}). Use --cfg-options for '
            'each instead.'
        )
    return roots.pop()
