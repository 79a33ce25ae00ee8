"""``PlainViT``: block outputs at the encoder's own stride, for SETR and linear heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.backbones.official_names import rename_official_keys
from vitadapter_dense.backbones.unused_blocks import drop_unused_blocks


@MODELS.register_module()
class PlainViT(BaseModule):
    """A plain ViT -> the maps of some of its blocks, all at stride ``patch_size``.

    Blocks behind the last of them are not built.

    Args:
        encoder: config of the encoder (``type='TimmViT'``), or the encoder itself, which several
            backbones may share; it keeps all blocks.
        out_indices: rising numbers of the blocks whose outputs are returned; default: the last one.

    Raises:
        ValueError: ``out_indices`` empty, not rising or beyond the encoder, or leaving out blocks
            of one that was handed over.
    """

    encoder_apart = True  # nothing changes its tokens between the blocks

    def __init__(
        self, encoder: dict[str, Any] | nn.Module, out_indices: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.encoder = MODELS.build(encoder) if isinstance(encoder, dict) else encoder
        self.embed_dim, depth = self.encoder.embed_dim, self.encoder.depth
        indices = [depth - 1] if out_indices is None else list(out_indices)
        if (
            not indices
            or indices != sorted(set(indices))
            or not 0 <= indices[0] <= indices[-1] < depth
        ):
            raise ValueError(
                f'out_indices {indices} must be rising block numbers from 0 to {depth - 1}'
            )
        self.out_indices = indices
        drop_unused_blocks(self.encoder, indices[-1] + 1, encoder)
        self.register_load_state_dict_pre_hook(rename_official_keys)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """``(B, 3, H, W)`` of any size -> maps ``(B, C, ceil(H / patch), ceil(W / patch))``."""
        return tuple(
            tokens.as_map() for tokens in self.encoder.run_through(images, self.out_indices)
        )
