"""Masked attention that goes away during training: its masks, its schedule and the hook for it.

Mask2Former lets a query look only where its mask is; that trains fast, but needs a mask before each
block. EoMT (https://arxiv.org/abs/2503.19108, section 3.3) opens the masks block by block while it
trains, each query with a growing probability, so that none is left in the end and predicting needs
none. In eval mode there never is one: before the end of a training, scores are lower for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor
from torch.nn import functional as F


def attention_mask(
    masks: Tensor, hw: tuple[int, int], *, others: int, probability: float
) -> Tensor:
    """Where each token may look: queries inside their masks, all others everywhere.

    Args:
        masks: ``(B, Q, h, w)`` logits of the queries.
        hw: ``(H, W)`` of the map in the sequence.
        others: tokens between the queries and the map.
        probability: of each query that its mask counts; else it looks everywhere, too.

    Returns:
        ``(B, 1, N, N)`` booleans for a sequence of queries, others and the map's tokens.
    """
    inside = F.interpolate(masks.detach().float(), hw, mode='bilinear') > 0
    inside = inside.flatten(2)  # (B, Q, H*W)
    batch, queries, cells = inside.shape
    if probability < 1:
        is_open = torch.rand(batch, queries, 1, device=masks.device) >= probability
        inside = inside | is_open
    before = inside.new_ones(batch, queries, queries + others)
    rest = inside.new_ones(batch, others + cells, queries + others + cells)
    return torch.cat([torch.cat([before, inside], dim=2), rest], dim=1)[:, None]


def mask_probability(iteration: int, start: int, end: int, *, power: float = 0.9) -> float:
    """How probably a query's mask counts: 1 until ``start``, then down to 0 at ``end``."""
    if iteration < start:
        return 1.0
    if iteration >= end:
        return 0.0
    return (1 - (iteration - start) / (end - start)) ** power


@HOOKS.register_module()
class MaskAnnealingHook(Hook):
    """Opens the masks of a mask decoder's blocks while it trains.

    The probabilities follow from the iteration alone, so that a resumed run goes on where it was.
    Without the hook nothing is masked.

    Args:
        start: iteration from which the masks of each block are opened.
        end: iteration from which they all are.
        power: of the fall between them.

    Raises:
        ValueError: lists of different lengths, or a start that is not before its end.
    """

    def __init__(self, start: Sequence[int], end: Sequence[int], *, power: float = 0.9) -> None:
        if len(start) != len(end) or any(not 0 <= s < e for s, e in zip(start, end, strict=False)):
            raise ValueError(
                f'start={list(start)} and end={list(end)}: give both for each block of the mask '
                f'decoder, every start from 0 on and before its end'
            )
        self.start, self.end, self.power = tuple(start), tuple(end), power

    def before_train(self, runner: Any) -> None:
        """Finds the decoder.

        Raises:
            ValueError: there is none, one of another number of blocks, or a training that ends
                before the last mask is open.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._decoders = [m for m in model.modules() if hasattr(m, 'mask_probabilities')]
        if not self._decoders:
            raise ValueError(
                'MaskAnnealingHook: the model has no decoder with masked attention '
                '(PlainMaskDecoder, EncoderOnlyDecoder); drop the hook from custom_hooks'
            )
        for decoder in self._decoders:
            if len(decoder.mask_probabilities) != len(self.start):
                raise ValueError(
                    f'MaskAnnealingHook has {len(self.start)} blocks in start={list(self.start)}, '
                    f'but {type(decoder).__name__} has {len(decoder.mask_probabilities)}: give one '
                    f'start and one end for each'
                )
        if max(self.end) > runner.max_iters:
            raise ValueError(
                f'MaskAnnealingHook opens the last masks at iteration {max(self.end)}, but '
                f'training ends at {runner.max_iters}, and predictions are made without masks: '
                f'make end={list(self.end)} and start={list(self.start)} earlier'
            )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Sets the probabilities of this iteration."""
        values = [
            mask_probability(runner.iter, start, end, power=self.power)
            for start, end in zip(self.start, self.end, strict=True)
        ]
        for decoder in self._decoders:
            decoder.mask_probabilities = values
