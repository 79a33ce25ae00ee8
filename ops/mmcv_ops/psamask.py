"""Point-wise spatial attention masks (PSANet, Zhao et al., ECCV 2018).

A mask channel says how much one place of the map attends to a neighbour at a given distance; the
operator lays the channels out as an attention between all pairs of places.
"""

from __future__ import annotations

import torch
from torch import Tensor

_COLLECT = 0  # mmcv's number for psa_type='collect'; 1 is 'distribute'


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Writes the attention of every place.

    Args:
        input: ``(B, h_mask * w_mask, H, W)``.
        output: ``(B, H * W, H, W)``, written; distances beyond the mask get 0.
        psa_type: 0 collect: ``output[:, to, at]``; 1 distribute: ``output[:, at, to]``.
        num_: B.
        h_feature: H.
        w_feature: W.
        h_mask: rows of distances.
        w_mask: columns of distances.
        half_h_mask: the row of distance 0.
        half_w_mask: its column.
    """
    channel, known = _channels(
        input, h_feature, w_feature, (h_mask, w_mask), (half_h_mask, half_w_mask)
    )
    flat = input.flatten(2)  # (B, channels, at)
    attention = flat.gather(1, channel.expand(num_, -1, -1)) * known
    output.copy_((attention if psa_type == _COLLECT else attention.mT).reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Adds the masks' gradient to ``grad_input``; arguments as in the forward."""
    channel, known = _channels(
        grad_output, h_feature, w_feature, (h_mask, w_mask), (half_h_mask, half_w_mask)
    )
    attention = grad_output.flatten(2)  # (B, H * W, H * W)
    attention = (attention if psa_type == _COLLECT else attention.mT) * known
    flat = grad_input.flatten(2).scatter_add(1, channel.expand(num_, -1, -1), attention)
    grad_input.copy_(flat.view_as(grad_input))


def _channels(
    like: Tensor, height: int, width: int, mask: tuple[int, int], half: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """For every pair (to, at): the channel of their distance, and whether there is one."""
    rows = _distances(like, height, half[0])  # (H, H)
    columns = _distances(like, width, half[1])
    known = _within(rows, mask[0])[:, None, :, None] & _within(columns, mask[1])[None, :, None, :]
    channel = rows[:, None, :, None] * mask[1] + columns[None, :, None, :]  # (H, W, H, W)
    places = height * width
    channel = channel.clamp(0, mask[0] * mask[1] - 1).reshape(1, places, places)
    return channel, known.reshape(1, places, places)


def _distances(like: Tensor, size: int, half: int) -> Tensor:
    places = torch.arange(size, device=like.device)  # of whole numbers, whatever the map's type
    return places[:, None] - places[None] + half


def _within(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)
