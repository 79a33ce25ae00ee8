"""Mixed precision on the GPU and on the CPU (torch.autocast)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


def computes_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 as fast as in float32, as oneDNN sees it."""
    available = torch.backends.mkldnn.is_available()
    return available and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(AmpOptimWrapper):
    """MMEngine's ``AmpOptimWrapper`` without its need for a GPU.

    Only float16 gradients can underflow, so only there the loss is scaled.

    Args:
        dtype: what autocast computes in. None takes float16 on a GPU; on a CPU bfloat16 if that has
            instructions for it, else no autocast: without them a large convolution takes a hundred
            times as long as in float32.
        loss_scale: ``'dynamic'``, a fixed scale, or the arguments of ``torch.amp.GradScaler``.
        **kwargs: arguments of ``OptimWrapper``: ``optimizer``, ``accumulative_counts``,
            ``clip_grad``.

    Raises:
        ValueError: unknown dtype or loss scale, or float16 on the CPU, where MMEngine's autocast
            and mmcv's ops do not take it.
    """

    def __init__(
        self,
        dtype: Literal['float16', 'bfloat16'] | None = None,
        loss_scale: Literal['dynamic'] | float | dict[str, Any] = 'dynamic',
        **kwargs: Any,
    ) -> None:
        device = get_device()
        slow = device == 'cpu' and not computes_bfloat16()
        if slow and dtype != 'float16':
            wanted = 'computes in float32' if dtype is None else 'computes all the same, slowly'
            print_log(
                f'mixed precision {wanted}: this CPU has no instructions for bfloat16',
                logger='current',
                level=logging.INFO if dtype is None else logging.WARNING,
            )
        enabled = dtype is not None or not slow
        if dtype is None:
            dtype = 'bfloat16' if device == 'cpu' else 'float16'
        if dtype not in ('float16', 'bfloat16'):
            raise ValueError(
                f"dtype={dtype!r} is no mixed precision; choose 'float16' or 'bfloat16'"
            )
        if dtype == 'float16' and device == 'cpu':
            raise ValueError(
                "dtype='float16' needs a GPU; on the CPU use dtype='bfloat16' (--amp bfloat16)"
            )
        if loss_scale == 'dynamic':
            scale = {}
        elif isinstance(loss_scale, dict):
            scale = dict(loss_scale)
        elif isinstance(loss_scale, (int, float)):
            scale = dict(init_scale=float(loss_scale))
        else:
            raise ValueError(f"loss_scale={loss_scale!r}; expected 'dynamic', a number or a dict")

        OptimWrapper.__init__(self, **kwargs)  # AmpOptimWrapper's own asserts a GPU
        self.cast_dtype = getattr(torch, dtype) if enabled else torch.float32
        self.loss_scaler = torch.amp.GradScaler(device, enabled=dtype == 'float16', **scale)
        self._scale_update_param = (
            scale['init_scale'] if isinstance(loss_scale, (int, float)) else None
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Where the forward pass runs, under autocast if there is another type to cast to."""
        plain = self.cast_dtype == torch.float32
        context = OptimWrapper.optim_context(self, model) if plain else super().optim_context(model)
        with context:
            yield

    def step(self, **kwargs: Any) -> None:
        """Takes an optimiser step; a float16 overflow leaves it out and lowers the scale."""
        if self.loss_scaler.is_enabled():
            super().step(**kwargs)
        else:
            OptimWrapper.step(self, **kwargs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads the optimiser's state, and the scaler's if both runs have one."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)
