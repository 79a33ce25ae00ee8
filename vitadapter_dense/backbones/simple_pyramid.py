"""``SimplePyramid``: the plain-ViT baselines, a ViT and a few (transposed) convolutions.

``style='original'`` is the baseline of the ViT-Adapter paper (https://arxiv.org/abs/2205.08534,
table 1; ``ViTBaseline`` in its code): the maps of four blocks, each normalised and brought to its
stride. With a BEiT encoder it is the ``BEiTBaseline`` of that code, which does without the layer
norms and has batch norm in the first level. ``style='vitdet'`` is the simple feature pyramid of
ViTDet (https://arxiv.org/abs/2203.16527, section 3): every level from the last block's map.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.backbones.norm import norm_factory
from vitadapter_dense.backbones.official_names import rename_official_keys
from vitadapter_dense.backbones.unused_blocks import drop_unused_blocks
from vitadapter_dense.encoders import Tokens
from vitadapter_dense.encoders.maps import dense


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map ``(B, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def _up(dim: int, out_dim: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(dim, out_dim, kernel_size=2, stride=2)


@MODELS.register_module()
class SimplePyramid(BaseModule):
    """A plain ViT -> four maps at strides 4, 8, 16, 32 (for a patch size of 16).

    Other patch sizes give the strides ``patch_size / 4 .. patch_size * 2``.

    Args:
        encoder: config of the encoder (``type='TimmViT'``), or the encoder itself, which several
            backbones may share; it keeps all blocks.
        style: ``'original'`` or ``'vitdet'``, see the module's text.
        out_indices: blocks whose maps are used, ``'original'`` only: four of them, or one for all
            levels;
            default: the last block of four equal spans. Blocks behind the last are not built.
        out_channels: channels of the maps, ``'vitdet'`` only (``'original'`` gives the ViT's
            width).
        norm_eps: of the layer norms.
        norm_cfg: normalisation in the first level over a BEiT encoder, ``'original'`` only; an
            MMEngine config, batch norm by default.

    Raises:
        ValueError: unknown style, or ``out_indices`` that do not fit the encoder or the style, or
            leave out blocks of an encoder that was handed over.
    """

    encoder_apart = True  # nothing changes its tokens between the blocks

    def __init__(
        self,
        encoder: dict[str, Any] | nn.Module,
        style: Literal['original', 'vitdet'] = 'original',
        *,
        out_indices: Sequence[int] | None = None,
        out_channels: int = 256,
        norm_eps: float = 1e-6,
        norm_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = MODELS.build(encoder) if isinstance(encoder, dict) else encoder
        dim, depth = self.encoder.embed_dim, self.encoder.depth
        self.style, self.embed_dim = style, dim
        if style == 'original':
            if out_indices is None:
                out_indices = [round(part * depth / 4) - 1 for part in range(1, 5)]
            self.out_indices = _check_out_indices(out_indices, depth)
            drop_unused_blocks(self.encoder, self.out_indices[-1] + 1, encoder)
            if getattr(self.encoder, 'family', None) == 'beit':
                self._build_original_beit(dim, norm_cfg)
            else:
                self._build_original(dim, norm_eps)
        elif style == 'vitdet':
            if out_indices is not None:
                raise ValueError(
                    "out_indices is for style='original'; 'vitdet' uses the last block"
                )
            self.out_indices = [depth - 1]
            self._build_vitdet(dim, out_channels, norm_eps)
        else:
            raise ValueError(f"style={style!r} is unknown; choose 'original' or 'vitdet'")
        self.register_load_state_dict_pre_hook(rename_official_keys)

    def _build_original(self, dim: int, norm_eps: float) -> None:
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.norm3 = nn.LayerNorm(dim, eps=norm_eps)
        self.norm4 = nn.LayerNorm(dim, eps=norm_eps)
        self.up1 = nn.Sequential(_up(dim, dim), nn.GroupNorm(32, dim), nn.GELU(), _up(dim, dim))
        self.up2 = _up(dim, dim)
        self.up3 = nn.Identity()
        self.up4 = nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True)

    def _build_original_beit(self, dim: int, norm_cfg: dict[str, Any] | None) -> None:
        norm = norm_factory(norm_cfg or dict(type='BN'))
        self.norm1 = self.norm2 = self.norm3 = self.norm4 = None
        self.up1 = nn.Sequential(_up(dim, dim), norm(dim), nn.GELU(), _up(dim, dim))
        self.up2 = nn.Sequential(_up(dim, dim))
        self.up3 = nn.Identity()
        self.up4 = nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True)

    def _build_vitdet(self, dim: int, out_channels: int, norm_eps: float) -> None:
        norm = partial(_ChannelNorm, eps=norm_eps)

        def smooth(inputs: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, out_channels, kernel_size=1, bias=False),
                norm(out_channels),
                nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
                norm(out_channels),
            ]

        self.up1 = nn.Sequential(
            _up(dim, dim // 2),
            norm(dim // 2),
            nn.GELU(),
            _up(dim // 2, dim // 4),
            *smooth(dim // 4),
        )
        self.up2 = nn.Sequential(_up(dim, dim // 2), *smooth(dim // 2))
        self.up3 = nn.Sequential(*smooth(dim))
        self.up4 = nn.Sequential(nn.MaxPool2d(2, 2, ceil_mode=True), *smooth(dim))

    def _run_encoder(self, images: Tensor) -> list[Tokens]:
        """The tokens after each of the blocks ``out_indices``."""
        return self.encoder.run_through(images, self.out_indices)

    def _vit_maps(self, images: Tensor) -> list[Tensor]:
        """The four maps that the levels are made of, normalised in the original style."""
        maps = self._run_encoder(images)
        maps = maps * 4 if len(maps) == 1 else maps
        if self.style == 'vitdet' or self.norm1 is None:
            return [level.as_map() for level in maps]
        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        return [
            level.with_x(norm(level.x)).as_map() for norm, level in zip(norms, maps, strict=True)
        ]

    def forward(self, images: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` of any size -> four maps, the largest first.

        At stride s a map has ``ceil(H / s) x ceil(W / s)`` cells.
        """
        height, width = images.shape[-2:]
        patch = self.encoder.patch_size
        outputs = []
        for level_index, vit_map in enumerate(self._vit_maps(images)):
            up = getattr(self, f'up{level_index + 1}')
            four_strides = patch * 2**level_index  # of a patch of 14, a stride is no whole number
            rows, columns = (-(-4 * side // four_strides) for side in (height, width))
            outputs.append(up(vit_map)[..., :rows, :columns])
        return [dense(output) for output in outputs]


def _check_out_indices(out_indices: Sequence[int], depth: int) -> list[int]:
    indices = list(out_indices)
    rising = all(a < b for a, b in zip(indices, indices[1:], strict=False))
    if len(indices) not in (1, 4) or not rising or not 0 <= indices[0] <= indices[-1] < depth:
        raise ValueError(
            f'out_indices {indices} must be four rising block numbers, or one, '
            f'from 0 to {depth - 1}'
        )
    return indices
