"""``OpenViT``: a plain ViT whose last blocks are left to the head, for EoMT."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.backbones.official_names import rename_official_keys
from vitadapter_dense.encoders import OpenEncoding


@MODELS.register_module()
class OpenViT(BaseModule):
    """A plain ViT up to its last blocks, and the means to run those with more tokens.

    Args:
        encoder: config of the encoder (``type='TimmViT'``), or the encoder itself.
        open_blocks: of the encoder, the last ones, which the head runs.

    Raises:
        ValueError: more open blocks than there are, or one that looks at windows, in which tokens
            of a head have no place.
    """

    def __init__(self, encoder: dict[str, Any] | nn.Module, open_blocks: int) -> None:
        super().__init__()
        self.encoder = MODELS.build(encoder) if isinstance(encoder, dict) else encoder
        self.embed_dim, depth = self.encoder.embed_dim, self.encoder.depth
        if not 0 < open_blocks <= depth:
            raise ValueError(f'open_blocks={open_blocks} must lie between 1 and {depth}, the depth')
        windows = self.encoder.window_sizes[-open_blocks:]
        if set(windows) != {None}:
            raise ValueError(
                f'the last {open_blocks} entries of window_sizes are {list(windows)}, but open '
                f'blocks take queries and need global attention: set them to None'
            )
        self.open_blocks = open_blocks
        self.register_load_state_dict_pre_hook(rename_official_keys)

    def forward(self, images: Tensor) -> OpenEncoding:
        """``(B, 3, H, W)`` of any size -> its tokens before the first open block."""
        first = self.encoder.depth - self.open_blocks
        tokens = self.encoder.run(self.encoder.embed(images), 0, first)
        return OpenEncoding(tokens, first, self.open_blocks, self.encoder.run)
