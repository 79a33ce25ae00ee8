"""``EncoderBackbone``: what the backbones with an adapter beside an encoder have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from vitadapter_dense.tuning.base import (
    Tuning,
    build_tuning,
    check_untuned,
    freeze_all_but,
    keep_frozen_parts_in_eval,
)


class EncoderBackbone(BaseModule):
    """An adapter beside an encoder, which is trained, tuned or frozen.

    Args:
        encoder: config of the encoder (``type='TimmViT'``), or the encoder itself, which several
            backbones may share; what one of them freezes or tunes in it is then so in all.

    Attributes:
        encoder_apart: nothing of the adapter changes the encoder's tokens.
        tuning: the method that tunes the encoder; the adapter always trains.
    """

    encoder_apart = True

    def __init__(self, encoder: dict[str, Any] | nn.Module) -> None:
        super().__init__()
        self.encoder = MODELS.build(encoder) if isinstance(encoder, dict) else encoder
        self.tuning: Tuning | None = None

    def _tune_encoder(self, tuning: dict[str, Any] | Sequence[dict[str, Any]]) -> None:
        """Hands the encoder to a tuning method, or to a list of them; comes last in building."""
        method = build_tuning(tuning)
        check_untuned(self.encoder)
        self.encoder.frozen = False  # it would keep what the method trains in eval mode
        method.attach(self.encoder)
        self.encoder.block_hooks.append(method)
        freeze_all_but(self.encoder, method)
        self.tuning = method

    def train(self, mode: bool = True) -> EncoderBackbone:
        """Frozen parts of a tuned encoder stay in eval mode."""
        super().train(mode)
        if self.tuning is not None:
            keep_frozen_parts_in_eval(self.encoder)
        return self

    def _call_encoder(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls the encoder; one that nothing reaches and nothing trains, without gradients."""
        fixed = self.tuning is None and getattr(self.encoder, 'frozen', False)
        if not (self.encoder_apart and fixed):
            return function(*args)
        device = next(self.parameters()).device.type
        with torch.no_grad():
            if device == 'meta' or not torch.is_autocast_enabled(device):
                return function(*args)
            with torch.autocast(device, torch.bfloat16):
                return function(*args)
