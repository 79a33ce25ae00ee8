"""Tries the losses of MMSegmentation's heads on labels with ignored pixels, before they train.

Some combinations of their options end in an error at the first ignored pixel, others only at the
first batch without any label, days later; some do not ignore what is to be ignored. Rather than
list them, each loss of a configuration is called with a few random scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor

_SOUND = 'PixelCrossEntropyLoss'  # ours
_MEND = f'Mend: for cross-entropy, type={_SOUND!r} with the same options; else another loss'


def broken_losses(name: str, head: Mapping[str, Any]) -> Iterator[str]:
    """What in a head's losses would end the training at the first ignored pixel, in words.

    Args:
        name: of the head, for the messages.
        head: its config. Nothing is tried where it calls its losses in a way of its own, or where
            MMSegmentation is not installed.
    """
    for path, loss, outputs, ignored in _losses(name, head):
        try:
            _try(loss, outputs, _labels(outputs, ignored), ignored)
        except Exception as error:  # whatever it is, the first step would end so
            yield (
                f'{path} ({loss["type"]}) cannot be computed on {get_device()} where some pixels '
                f'are ignored: {_first_line(error)}. {_MEND}.'
            )


def doubtful_losses(model_cfg: Mapping[str, Any]) -> Iterator[str]:
    """What in a segmentor's losses is wrong for some labels, in words.

    Args:
        model_cfg: the model's config.
    """
    for key in ('decode_head', 'auxiliary_head'):
        heads = model_cfg.get(key) or []
        for number, head in enumerate([heads] if isinstance(heads, Mapping) else heads):
            name = f'model.{key}' if isinstance(heads, Mapping) else f'model.{key}.{number}'
            for path, loss, outputs, ignored in _losses(name, head):
                yield from (
                    f'{path} ({loss["type"]}) {doubt}. {_MEND}, or data without such pixels.'
                    for doubt in _doubts(loss, outputs, ignored)
                )


def other_ignored_label(
    name: str, head: Mapping[str, Any], preprocessor: Mapping[str, Any]
) -> Iterator[str]:
    """Whether a head ignores another label than the one that padding has, in words."""
    ignored, padded = head.get('ignore_index', 255), preprocessor.get('seg_pad_val', 255)
    if ignored != padded:
        yield (
            f'{name}.ignore_index is {ignored}, but label maps are padded with {padded}, which '
            f'would count as a class. Mend: leave ignore_index out and give {padded} to what is to '
            f'be ignored (reduce_zero_label=True in the data set does so with 0), or set '
            f'model.data_preprocessor.seg_pad_val={ignored}.'
        )


def _doubts(loss: Mapping[str, Any], outputs: int, ignored: int) -> Iterator[str]:
    labels = _labels(outputs, ignored)
    try:
        _, gradient = _try(loss, outputs, labels, ignored)
    except Exception:  # `broken_losses` tells
        return
    if gradient.movedim(1, -1)[labels == ignored].any():
        yield 'does not ignore ignored pixels: their scores are trained towards no class'
    for images, where in ((1, 'for an image'), (2, 'for a batch')):
        labels[:images] = ignored
        try:
            value, gradient = _try(loss, outputs, labels, ignored)
        except Exception as error:
            yield f'cannot be computed {where} without any label: {_first_line(error)}'
            return
        if not (value.isfinite().all() and gradient.isfinite().all()):
            yield f'is not finite {where} without any label'
            return


def _losses(name: str, head: Mapping[str, Any]) -> Iterator[tuple[str, Mapping, int, int]]:
    """Dotted name and config of each loss of a head, the head's outputs and its ignored label."""
    losses = head.get('loss_decode') or ()
    listed = isinstance(losses, (list, tuple))
    kinds = [loss.get('type') for loss in (losses if listed else [losses])]
    if all(kind in (None, _SOUND) for kind in kinds) or not _calls_losses_plainly(head):
        return
    outputs = head.get('out_channels') or head.get('num_classes')
    for number, loss in enumerate(losses if listed else [losses]):
        if outputs and kinds[number] not in (None, _SOUND):
            path = f'{name}.loss_decode.{number}' if listed else f'{name}.loss_decode'
            yield path, loss, outputs, head.get('ignore_index', 255)


def _calls_losses_plainly(head: Mapping[str, Any]) -> bool:
    """Whether a head calls its losses with scores, labels and `ignore_index`, as most do."""
    try:
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead
        from mmseg.registry import MODELS
    except ImportError:
        return False
    kind = head.get('type')
    if kind is None:
        return True
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    plain = BaseDecodeHead.loss_by_feat
    return isinstance(kind, type) and getattr(kind, 'loss_by_feat', None) is plain


def _labels(outputs: int, ignored: int) -> Tensor:
    """``(2, 16, W)`` labels of which a row is ignored; W is not the number of outputs."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, max(2, outputs), (2, 16, outputs + 16), generator=generator)
    labels[:, 0] = ignored
    return labels


def _try(
    loss_cfg: Mapping[str, Any], outputs: int, labels: Tensor, ignored: int
) -> tuple[Tensor, Tensor]:
    """A loss of random scores, and its gradient."""
    from mmseg.registry import MODELS

    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, outputs, *labels.shape[1:], generator=generator).to(get_device())
    scores.requires_grad_()
    with torch.random.fork_rng():  # the run draws what it would have drawn
        # whatever toolbox's scope is the default
        loss = MODELS.build({'_scope_': 'mmseg', **loss_cfg}).to(scores.device)
        value = loss(scores, labels.to(scores.device), weight=None, ignore_index=ignored)
    value = value.mean()  # as MMEngine reduces what a head returns
    value.backward()
    return value.detach(), scores.grad.cpu()


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or ['']
    return f'{type(error).__name__}: {lines[0]}'
