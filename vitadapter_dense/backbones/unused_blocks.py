"""Blocks of an encoder behind the last whose output its backbone uses."""

from __future__ import annotations

from typing import Any

from torch import nn


def drop_unused_blocks(encoder: nn.Module, count: int, given: dict[str, Any] | nn.Module) -> None:
    """Drops the blocks from number ``count`` on.

    Args:
        encoder: of the backbone.
        count: of the blocks that it uses.
        given: what it was told to build the encoder of, or the encoder.

    Raises:
        ValueError: the encoder was handed over, so that other backbones may use these blocks.
    """
    if given is encoder and count < encoder.depth:
        raise ValueError(
            f'out_indices leaves out blocks {count} to {encoder.depth - 1} of an encoder that was '
            f'handed over, and that others may use: give the config of an encoder instead'
        )
    encoder.keep_blocks(count)
