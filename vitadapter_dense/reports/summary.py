"""``RunSummaryHook``: what a training is, in a few lines before its first iteration."""

from __future__ import annotations

import time
from typing import Any

import torch
from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn


def summary(runner: Runner) -> dict[str, str]:
    """What a training is, by the names under which it is shown."""
    loader, model = runner.train_dataloader, runner.model
    bare = getattr(model, 'module', model)
    epochs, iterations = runner.max_epochs, runner.max_iters
    length = f'{epochs} epochs, ' if epochs > 1 else ''
    length += f'{iterations} iterations'
    if runner.iter:
        length += f', of which {runner.iter} are done'
    shown = dict(
        model=', '.join(model_kinds(bare)),
        parameters=parameter_counts(bare),
        training=f'{_size(loader)}, batch {loader.batch_size or loader.batch_sampler.batch_size}'
        f' x {_processes()}, {length}',
    )
    if runner.val_loop is not None:
        shown['validation'] = _size(runner.val_loop.dataloader)
    shown['device'] = f'{device_name(model)}, {_precision(runner.optim_wrapper)}'
    shown['weights'] = _weights(runner, bare)
    shown['goes to'] = runner.work_dir
    return shown


def model_kinds(model: nn.Module) -> list[str]:
    """The kinds of a model, its backbone and its encoder."""
    parts = [model, getattr(model, 'backbone', None)]
    names = [type(part).__name__ for part in parts if part is not None]
    encoder = getattr(getattr(model, 'backbone', None), 'encoder', None)
    return [*names, *([getattr(encoder, 'model_name', type(encoder).__name__)] if encoder else [])]


def parameter_counts(model: nn.Module) -> str:
    """How many parameters are trained and how many are frozen."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    return f'{trained / 1e6:.2f} M trained, {frozen / 1e6:.2f} M frozen'


def _size(loader: Any) -> str:
    return f'{len(loader.dataset)} images'


def _processes() -> str:
    count = get_world_size()
    return f'{count} process{"es" if count > 1 else ""}'


def device_name(model: nn.Module) -> str:
    """What a model is computed on."""
    device = next(model.parameters()).device
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{device.type} ({torch.get_num_threads()} threads)'


def _precision(optim_wrapper: Any) -> str:
    if not isinstance(optim_wrapper, AmpOptimWrapper):
        return 'float32'
    return f'mixed precision ({optim_wrapper.cast_dtype or "float16"})'.replace('torch.', '')


def _weights(runner: Runner, model: nn.Module) -> str:
    if getattr(runner, '_load_from', None):
        return str(runner._load_from)
    encoder = getattr(getattr(model, 'backbone', None), 'encoder', None)
    source = getattr(encoder, 'pretrained', False)
    if source is True:
        return f'{getattr(encoder, "model_name", "the encoder")}, pre-trained'
    return str(source) if source else 'random, or as the model says'


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Logs what a training is before it begins, and its first iteration at once."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._begun = 0.0
        self._first = True

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Logs the summary."""
        lines = [f'  {name:<12} {value}' for name, value in summary(runner).items()]
        print_log('training\n' + '\n'.join(lines), logger='current')
        self._begun, self._first = time.monotonic(), True

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Logs the first iteration."""
        if not self._first:
            return
        self._first = False
        loss = torch.as_tensor((outputs or {}).get('loss', torch.nan)).item()
        seconds = time.monotonic() - self._begun
        print_log(f'first iteration after {seconds:.1f} s: loss {loss:.3f}', logger='current')
