"""``ViTAdapter``: a plain ViT as a dense-prediction backbone.

Vision Transformer Adapter for Dense Predictions (Chen et al., ICLR 2023,
https://arxiv.org/abs/2205.08534), figure 4. The ViT stays as it was pre-trained; a spatial prior
module, injectors and extractors beside it turn its single-scale tokens into a pyramid of maps at
strides 4, 8, 16 and 32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.adapter import Extractor, Injector, Interaction, SpatialPriorModule
from vitadapter_dense.adapter.attention import AttentionKind, check_attention
from vitadapter_dense.adapter.geometry import Geometry, Level, flatten_maps, resample, split_maps
from vitadapter_dense.backbones.encoder_backbone import EncoderBackbone
from vitadapter_dense.backbones.norm import norm_factory
from vitadapter_dense.backbones.official_names import rename_official_keys
from vitadapter_dense.encoders import Tokens
from vitadapter_dense.encoders.maps import dense
from vitadapter_dense.tuning.base_weights import complete_delta

_STRIDES = (4, 8, 16, 32)

VitFeature = Literal['last', 'per_stage'] | None


def _equal_spans(depth: int, parts: int = 4) -> list[tuple[int, int]]:
    """Inclusive first and last block of ``parts`` spans of (nearly) equal length."""
    edges = [round(part * depth / parts) for part in range(parts + 1)]
    return [(start, stop - 1) for start, stop in zip(edges, edges[1:], strict=False)]


def _check_spans(spans: Sequence[Sequence[int]], depth: int) -> list[tuple[int, int]]:
    """Raises unless inclusive ``spans`` cover blocks 0 .. depth - 1 once each and in order."""
    expected = 0
    for span in spans:
        if len(span) != 2 or span[0] != expected or span[1] < span[0]:
            break
        expected = span[1] + 1
    else:
        if expected == depth:
            return [(first, last) for first, last in spans]
    raise ValueError(
        f'interaction_indexes {[list(span) for span in spans]} do not cover the {depth} blocks '
        f'of the encoder in order: give inclusive pairs that start at 0, follow each other and end '
        f'at {depth - 1}, e.g. {[list(span) for span in _equal_spans(depth)]}'
    )


@MODELS.register_module()
class ViTAdapter(EncoderBackbone):
    """ViT-Adapter as a backbone: image -> four maps at strides 4, 8, 16, 32.

    Attribute names follow the released checkpoints, and a state dict in the original naming
    (encoder keys without ``encoder.``, ``gamma1``/``gamma2``) is converted while it is loaded.

    Args:
        encoder: config of the encoder (``type='TimmViT'``), or the encoder itself, which several
            backbones may share; what one of them freezes or tunes in it is then so in all.
        interaction_indexes: inclusive first and last block of each interaction; default: four equal
            spans.
        conv_inplane: channels of the spatial prior's stem.
        attention: of injectors and extractors: ``'deformable'`` (the default everywhere),
            ``'global'`` or ``'cswin'``, see :mod:`vitadapter_dense.adapter.attention`.
        n_points: sampling points of the deformable attention.
        deform_num_heads: heads of the attention.
        deform_ratio: width of its values relative to the ViT's.
        with_cffn: extractors have a feed-forward network with a depthwise convolution.
        cffn_ratio: its hidden width relative to the ViT's.
        use_extra_extractor: two more extractors in the last interaction.
        vit_feature: which ViT maps are added to the pyramid: ``'last'`` adds the final map to all
            levels (the original's detection code), ``'per_stage'`` adds interaction i's map to
            level i (its segmentation code; needs four interactions), ``None`` adds none.
        injector: ``False`` leaves the ViT's features untouched (only extractors). A frozen encoder
            then runs without gradients, and in bfloat16 under autocast: the adapter of DINOv3
            (https://arxiv.org/abs/2508.10104, section 6.3.2).
        injector_init: start of the injectors' gamma.
        zero_init_extractors: extractors start as the identity, as the injectors do; ours, for
            training from random weights, where what they extract from the ViT is noise at first.
            ``False`` is the original.
        norm_eps: of the adapter's layer norms.
        drop_path_rate: stochastic depth of the extractors' feed-forward networks; default: the
            encoder's.
        norm_cfg: the spatial prior's and the output's normalisation, an MMEngine config.
        tuning: config of a tuning method for the encoder, or a list of them; the adapter always
            trains. The method says what trains, and ``frozen`` of the encoder has no effect.
            ``None`` trains the encoder whole (unless it is ``frozen``).
        with_cp: recompute injectors and extractors in the backward pass (the encoder has its own
            switch).

    Attributes:
        encoder_apart: nothing of the adapter changes the encoder's tokens.

    Raises:
        ValueError: spans that do not cover the encoder in order, an unknown ``vit_feature`` or
            ``attention``, one that does not fit heads or patches, or an encoder that is tuned
            already.
    """

    def __init__(
        self,
        encoder: dict[str, Any] | nn.Module,
        interaction_indexes: Sequence[Sequence[int]] | None = None,
        *,
        conv_inplane: int = 64,
        attention: AttentionKind = 'deformable',
        n_points: int = 4,
        deform_num_heads: int = 6,
        deform_ratio: float = 1.0,
        with_cffn: bool = True,
        cffn_ratio: float = 0.25,
        use_extra_extractor: bool = True,
        vit_feature: VitFeature = 'last',
        injector: bool = True,
        injector_init: float = 0.0,
        zero_init_extractors: bool = False,
        norm_eps: float = 1e-6,
        drop_path_rate: float | None = None,
        norm_cfg: dict[str, Any] | None = None,
        tuning: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__(encoder)
        dim, depth = self.encoder.embed_dim, self.encoder.depth
        self.embed_dim, self.vit_feature = dim, vit_feature
        self.spans = _check_spans(interaction_indexes or _equal_spans(depth), depth)
        if vit_feature not in ('last', 'per_stage', None):
            raise ValueError(f"vit_feature={vit_feature!r}; choose 'last', 'per_stage' or None")
        if vit_feature == 'per_stage' and len(self.spans) != len(_STRIDES):
            raise ValueError(
                f"vit_feature='per_stage' needs {len(_STRIDES)} interactions, one for each level; "
                f'interaction_indexes has {len(self.spans)}'
            )
        check_attention(attention, self.encoder.patch_size)

        batch_norm = norm_factory(norm_cfg or dict(type='BN'))
        layer_norm = partial(nn.LayerNorm, eps=norm_eps)
        if drop_path_rate is None:
            drop_path_rate = self.encoder.drop_path_rate
        make_injector = partial(
            Injector,
            dim,
            deform_num_heads,
            n_points=n_points,
            deform_ratio=deform_ratio,
            attention=attention,
            norm=layer_norm,
            init_value=injector_init,
        )
        make_extractor = partial(
            Extractor,
            dim,
            deform_num_heads,
            n_points=n_points,
            deform_ratio=deform_ratio,
            attention=attention,
            with_cffn=with_cffn,
            cffn_ratio=cffn_ratio,
            drop_path=drop_path_rate,
            norm=layer_norm,
        )

        self.level_embed = nn.Parameter(torch.zeros(3, dim))
        self.spm = SpatialPriorModule(dim, conv_inplane, norm=batch_norm)
        last = len(self.spans) - 1
        self.interactions = nn.ModuleList(
            Interaction(
                make_injector if injector else None,
                make_extractor,
                num_extra_extractors=2 if use_extra_extractor and index == last else 0,
                with_cp=with_cp,
            )
            for index in range(len(self.spans))
        )
        self.up = nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
        self.norm1 = batch_norm(dim)
        self.norm2 = batch_norm(dim)
        self.norm3 = batch_norm(dim)
        self.norm4 = batch_norm(dim)
        self._init_adapter()
        if zero_init_extractors:
            self._zero_extractors()
        self.encoder_apart = not injector
        if tuning is not None:
            self._tune_encoder(tuning)
        self.register_load_state_dict_pre_hook(rename_official_keys)
        self.register_load_state_dict_pre_hook(complete_delta)

    def _init_adapter(self) -> None:
        """Random start of everything but the encoder and the attention, as in the original."""
        nn.init.normal_(self.level_embed)
        for part in (self.spm, self.up):
            for module in part.modules():
                if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                    init_conv(module)
        for name, module in self.interactions.named_modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module)
            elif isinstance(module, nn.Linear) and '.attn.' not in name:
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def _zero_extractors(self) -> None:
        for module in self.interactions.modules():
            if isinstance(module, Extractor):
                ends = [module.attn.output_proj]
                if module.with_cffn:
                    ends.append(module.ffn.fc2)
                for linear in ends:
                    nn.init.zeros_(linear.weight)
                    nn.init.zeros_(linear.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Figure 4 of the paper.

        Args:
            images: ``(B, 3, H, W)``, any size.

        Returns:
            Maps ``(B, embed_dim, ceil(H / s), ceil(W / s))`` for strides s = 4, 8, 16, 32.
        """
        tokens = self._call_encoder(self.encoder.embed, images)
        c1, *pyramid_maps = self.spm(images)
        pyramid = flatten_maps(
            [
                c + embed[:, None, None]
                for c, embed in zip(pyramid_maps, self.level_embed, strict=True)
            ]
        )
        image_levels = [Level.of_image(*images.shape[-2:], stride) for stride in _STRIDES]
        token_level = Level(*tokens.hw, self.encoder.patch_size)
        geometry = Geometry.of(token_level, image_levels[1:], images)

        vit_maps = []
        for interaction, span in zip(self.interactions, self.spans, strict=True):
            tokens, pyramid = self._interact(interaction, span, tokens, pyramid, geometry)
            vit_maps.append(tokens.as_map())

        c2, c3, c4 = split_maps(pyramid, image_levels[1:])
        up = self.up(c2)[..., : c1.shape[-2], : c1.shape[-1]]  # one row more where H / 4 is odd
        maps = [c1 + up, c2, c3, c4]
        if self.vit_feature == 'last':
            vit_maps = [vit_maps[-1]] * len(maps)
        if self.vit_feature is not None:
            maps = [
                level_map + resample(vit_map, token_level, level)
                for level_map, vit_map, level in zip(maps, vit_maps, image_levels, strict=True)
            ]
        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        return [dense(norm(level_map)) for norm, level_map in zip(norms, maps, strict=True)]

    def _interact(
        self,
        interaction: Interaction,
        span: tuple[int, int],
        tokens: Tokens,
        pyramid: Tensor,
        geometry: Geometry,
    ) -> tuple[Tokens, Tensor]:
        """One interaction; the adapter sees the map, the encoder's blocks see the prefix tokens
        too."""
        ran = tokens

        def run_blocks(grid: Tensor) -> Tensor:
            nonlocal ran
            given = self._with_grid(tokens, grid)
            ran = self._call_encoder(self.encoder.run, given, span[0], span[1] + 1)
            return ran.grid

        grid, pyramid = interaction(tokens.grid, pyramid, run_blocks, geometry)
        return self._with_grid(ran, grid), pyramid

    def _with_grid(self, tokens: Tokens, grid: Tensor) -> Tokens:
        """The tokens with the map that the adapter made of theirs, if it makes any."""
        return tokens if self.encoder_apart else tokens.with_grid(grid)


def init_conv(conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Random start of a convolution of the adapter, as in the original."""
    fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels // conv.groups
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
