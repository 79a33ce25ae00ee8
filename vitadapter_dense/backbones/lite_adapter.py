"""``LiteAdapter``: a plain ViT and a few convolutions as a dense-prediction backbone.

After the spatial tuning adapter of DEIMv2 (https://arxiv.org/abs/2509.20787): the maps of three
depths of the ViT are resized and joined with those of a small convolutional pyramid by 1x1
convolutions. Nothing is injected into the ViT, and nothing in it is more than a convolution or an
interpolation. DEIMv2's has the strides 8, 16 and 32; stride 4, for heads that want four maps, is
ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.adapter import LitePrior
from vitadapter_dense.adapter.geometry import Level, resample
from vitadapter_dense.backbones.encoder_backbone import EncoderBackbone
from vitadapter_dense.backbones.norm import norm_factory
from vitadapter_dense.backbones.unused_blocks import drop_unused_blocks
from vitadapter_dense.encoders.maps import dense
from vitadapter_dense.tuning.base_weights import complete_delta

_STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class LiteAdapter(EncoderBackbone):
    """A plain ViT and a small convolutional pyramid: image -> four maps at strides 4, 8, 16, 32.

    Args:
        encoder: config of the encoder (``type='TimmViT'``), or the encoder itself, which several
            backbones may share; it keeps all blocks.
        out_indices: three rising block numbers, whose maps go to strides 8, 16 and 32 (the first of
            them to stride 4 too); default: the last blocks of the second, third and fourth quarter
            (5, 8 and 11 of 12). Blocks behind the last are not built.
        conv_inplane: channels of the pyramid at stride 4.
        out_channels: of the maps; default: the ViT's width.
        norm_cfg: normalisation of the pyramid and of the maps, an MMEngine config; batch norm by
            default.
        tuning: config of a tuning method for the encoder, or a list of them; the adapter always
            trains. The method says what trains, and ``frozen`` of the encoder has no effect.

    Raises:
        ValueError: ``out_indices`` that do not fit the encoder, or leave out blocks of one that was
            handed over; or an encoder that is tuned already.
    """

    def __init__(
        self,
        encoder: dict[str, Any] | nn.Module,
        out_indices: Sequence[int] | None = None,
        *,
        conv_inplane: int = 32,
        out_channels: int | None = None,
        norm_cfg: dict[str, Any] | None = None,
        tuning: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(encoder)
        self.embed_dim, depth = self.encoder.embed_dim, self.encoder.depth
        if out_indices is None:
            out_indices = [part * depth // 4 - 1 for part in (2, 3, 4)]
        self.out_indices = _check_out_indices(out_indices, depth)
        drop_unused_blocks(self.encoder, self.out_indices[-1] + 1, encoder)
        norm = norm_factory(norm_cfg or dict(type='BN'))
        width = self.embed_dim if out_channels is None else out_channels
        self.prior = LitePrior(conv_inplane, norm=norm)
        # One convolution of ViT's and pyramid's channels, in two halves: the ViT's comes before
        # the resizing, which is the same and has a 16th of the cells at stride 4.
        self.of_vit = nn.ModuleList(
            nn.Conv2d(self.embed_dim, width, kernel_size=1, bias=False) for _ in _STRIDES
        )
        self.of_prior = nn.ModuleList(
            nn.Conv2d(channels, width, kernel_size=1, bias=False) for channels in self.prior.widths
        )
        self.norm1 = norm(width)
        self.norm2 = norm(width)
        self.norm3 = norm(width)
        self.norm4 = norm(width)
        if tuning is not None:
            self._tune_encoder(tuning)
        self.register_load_state_dict_pre_hook(complete_delta)

    def forward(self, images: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` of any size -> four maps, the largest first.

        At stride s a map has ``ceil(H / s) x ceil(W / s)`` cells.
        """
        tokens = self._call_encoder(self.encoder.run_through, images, self.out_indices)
        token_level = Level(*tokens[0].hw, self.encoder.patch_size)
        first, *others = [each.as_map() for each in tokens]
        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        parts = zip(
            _STRIDES,
            (first, first, *others),
            self.of_vit,
            self.prior(images),
            self.of_prior,
            norms,
            strict=True,
        )
        outputs = []
        for stride, vit_map, of_vit, prior_map, of_prior, norm in parts:
            level = Level.of_image(*images.shape[-2:], stride)
            joined = resample(of_vit(vit_map), token_level, level) + of_prior(prior_map)
            outputs.append(dense(norm(joined)))
        return outputs


def _check_out_indices(out_indices: Sequence[int], depth: int) -> list[int]:
    indices = list(out_indices)
    if len(indices) != 3 or not 0 <= indices[0] < indices[1] < indices[2] < depth:
        raise ValueError(
            f'out_indices {indices} must be three rising block numbers from 0 to {depth - 1}'
        )
    return indices
