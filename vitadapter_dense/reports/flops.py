"""Floating-point operations of a forward pass, module by module."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

# The CPU's kernels of attention; torch's counter knows those of GPUs alone.
_OF_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, query, key, value, *_, **__: sdpa_backward_flop_count(
            gradient, query, key, value
        )
    ),
}


class ModuleFlops:
    """Attributes operations to the innermost module that is at work, and sums them up by name.

    `FlopCounterMode` itself adds an operation to every module on the call stack. In a ViT-Adapter
    an interaction calls the encoder's blocks, which would then count as its own too.

    Args:
        module: whose modules are told apart.
        counter: counts the operations.
    """

    def __init__(self, module: nn.Module, counter: FlopCounterMode) -> None:
        self.counter = counter
        self.own: Counter[str] = Counter()
        self._stack: list[tuple[int, int]] = []
        self._handles = []
        for name, child in module.named_modules():
            self._handles.append(child.register_forward_pre_hook(self._enter))
            self._handles.append(child.register_forward_hook(partial(self._leave, name)))

    def _enter(self, module: nn.Module, inputs: object) -> None:
        self._stack.append((self.counter.get_total_flops(), sum(self.own.values())))

    def _leave(self, name: str, module: nn.Module, inputs: object, outputs: object) -> None:
        counted, attributed = self._stack.pop()
        inside = self.counter.get_total_flops() - counted
        self.own[name] += inside - (sum(self.own.values()) - attributed)

    def by_name(self) -> dict[str, int]:
        """Operations of every module, those of its children included; `''` is the sum."""
        totals: Counter[str] = Counter()
        for name, flops in self.own.items():
            parts = name.split('.') if name else []
            for depth in range(len(parts) + 1):
                totals['.'.join(parts[:depth])] += flops
        return dict(totals)

    def close(self) -> None:
        """Takes the hooks away."""
        for handle in self._handles:
            handle.remove()


def count_flops(module: nn.Module, forward: Callable[[], object]) -> dict[str, int]:
    """Runs a forward pass and returns the operations of every module by its name, `''` for all.

    Args:
        module: whose modules are told apart.
        forward: runs the pass.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_OF_CPU)
    modules = ModuleFlops(module, counter)
    try:
        with torch.no_grad(), counter:
            forward()
    finally:
        modules.close()
    return modules.by_name()


def count_all_flops(call: Callable[[], object]) -> int:
    """Runs something, backward passes too, and returns its operations.

    Args:
        call: what is run, on any device.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_OF_CPU)
    with counter:
        call()
    return counter.get_total_flops()


def format_table(flops: dict[str, int], *, depth: int) -> str:
    """The operations as an aligned table, modules down to `depth` and the sum."""
    total = flops['']
    shown = {name: n for name, n in flops.items() if name and n and name.count('.') < depth}
    width = max([len(name) for name in shown] + [5])
    lines = [f'{"module":<{width}} {"GFLOPs":>10} {"share":>7}']
    for name in sorted(shown):
        lines.append(f'{name:<{width}} {shown[name] / 1e9:>10.3f} {shown[name] / total:>7.1%}')
    lines.append(f'{"total":<{width}} {total / 1e9:>10.3f} {1:>7.1%}')
    return '\n'.join(lines)


def tested_shape(cfg: Config) -> tuple[int, int]:
    """Height and width of the images that a configuration is tested on.

    COCO's usual 800 x 1333 counts as 800 x 1280, as in published tables.

    Raises:
        ValueError: the test pipeline has no step that says so.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    steps = dataset.get('pipeline') or cfg.get('test_pipeline') or ()
    sizes = [cfg.get('crop_size')] + [step.get('scale') for step in steps]
    for size in sizes:
        if isinstance(size, (tuple, list)) and len(size) == 2:
            short, long = sorted(size)
            return short, 1280 if (short, long) == (800, 1333) else long
    raise ValueError('the configuration names no size of test images: give --shape')


def in_float32(cfg: Config) -> Config:
    """A copy whose encoder is stored in 32 bits: the meta device knows no autocast for others."""
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.get('encoder', {}).pop('dtype', None)
    return cfg
