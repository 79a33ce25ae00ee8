"""``MaskAnnealingHook``: masked attention goes away while a mask decoder trains.

EoMT, https://arxiv.org/abs/2503.19108, section 3.3; its probabilities are those of the released
training code.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from vitadapter_dense.training.errors import SettingsError


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
            SettingsError: there is none, or one of another number of blocks.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._decoders = [m for m in model.modules() if hasattr(m, 'mask_probabilities')]
        if not self._decoders:
            raise SettingsError(
                'MaskAnnealingHook: the model has no decoder with masked attention '
                '(PlainMaskDecoder, EncoderOnlyDecoder); drop the hook from custom_hooks'
            )
        for decoder in self._decoders:
            if len(decoder.mask_probabilities) != len(self.start):
                raise SettingsError(
                    f'MaskAnnealingHook has {len(self.start)} blocks in start={list(self.start)}, '
                    f'but {type(decoder).__name__} has {len(decoder.mask_probabilities)}: give one '
                    f'start and one end for each'
                )
        if max(self.end) > runner.max_iters:
            print_log(
                f'MaskAnnealingHook opens the last masks at iteration {max(self.end)}, but '
                f'training ends at {runner.max_iters}, and predictions are made without masks. '
                f'This is well for a short trial; for a training make start={list(self.start)} and '
                f'end={list(self.end)} earlier (custom_hooks)',
                logger='current',
                level=logging.WARNING,
            )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Sets the probabilities of this iteration."""
        values = [
            mask_probability(runner.iter, start, end, power=self.power)
            for start, end in zip(self.start, self.end, strict=True)
        ]
        for decoder in self._decoders:
            decoder.mask_probabilities = values
