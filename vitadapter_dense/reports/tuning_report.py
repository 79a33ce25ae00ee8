"""``TuningReportHook``: what tuning trains and what it costs, in the log of the run."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import nn

from vitadapter_dense.tuning.delta import frozen_names, tuned_backbones


def parameter_table(model: nn.Module) -> str:
    """Total and trainable parameters of the model's parts, the delta's size, mergeable or not."""
    rows = []
    parts = [*model.named_children(), *tuned_backbones(model), ('whole model', model)]
    for name, part in parts:
        counts = [(p.numel(), p.requires_grad) for p in part.parameters()]
        total = sum(size for size, _ in counts)
        trainable = sum(size for size, trains in counts if trains)
        rows.append((name, total, trainable))
        if getattr(part, 'tuning', None) is not None:
            own = sum(p.numel() for p in part.tuning.parameters())
            rows.append((f'{name}.tuning', own, own))
    lines = [f'{"module":<24} {"total":>13} {"trainable":>13} {"share":>8}']
    for name, total, trainable in dict.fromkeys(rows):
        if total:
            lines.append(f'{name:<24} {total:>13,} {trainable:>13,} {trainable / total:>8.2%}')
    state, frozen = model.state_dict(), set(frozen_names(model))
    size = sum(t.numel() * t.element_size() for name, t in state.items() if name not in frozen)
    lines.append(f'delta: {size / 2**20:.1f} MiB')
    for name, backbone in tuned_backbones(model):
        answer = 'can' if backbone.tuning.mergeable else 'cannot'
        lines.append(f'{name}: {answer} be merged into plain weights')
    return '\n'.join(lines)


@HOOKS.register_module()
class TuningReportHook(Hook):
    """Logs what trains before training, and peak memory and time of an iteration after it.

    On the CPU the memory is that of the whole process.

    Args:
        warm_up: first iterations whose time does not count.
    """

    priority = 'LOWEST'

    def __init__(self, warm_up: int = 5) -> None:
        self.warm_up = warm_up
        self._started = 0.0
        self._seconds: list[float] = []

    @master_only
    def before_train(self, runner: Any) -> None:
        """Logs the table."""
        print_log('parameters:\n' + parameter_table(runner.bare_model), logger='current')
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Starts the clock."""
        self._started = time.perf_counter()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stops the clock."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._seconds.append(time.perf_counter() - self._started)

    @master_only
    def after_train(self, runner: Any) -> None:
        """Logs what was measured."""
        counted = self._seconds[self.warm_up :] or self._seconds
        if not counted:
            return
        print_log(
            f'measured: {sum(counted) / len(counted):.3f} s an iteration, without loading data; '
            f'peak memory {_peak_mib():,.0f} MiB',
            logger='current',
        )


def _peak_mib() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == 'darwin' else 2**10  # bytes there, kibibytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
