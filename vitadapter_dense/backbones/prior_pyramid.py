"""``PriorPyramid``: what stands between the plain-ViT baseline and ViT-Adapter.

ViT-Adapter (https://arxiv.org/abs/2205.08534), table 6, variants 1 and 2: the baseline, whose ViT
sees the maps of the spatial prior module too, added or through injectors. Without extractors
nothing gathers a pyramid, so that the maps are the baseline's; the table's numbers of parameters
say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.adapter import AddedPrior, Injector, SpatialPriorModule
from vitadapter_dense.adapter.geometry import Geometry, Level, flatten_maps
from vitadapter_dense.backbones.norm import norm_factory
from vitadapter_dense.backbones.simple_pyramid import SimplePyramid
from vitadapter_dense.backbones.vit_adapter import init_conv
from vitadapter_dense.encoders import Tokens


@MODELS.register_module()
class PriorPyramid(SimplePyramid):
    """The plain-ViT baseline over a ViT that sees a spatial prior -> maps at strides 4 to 32.

    Args:
        encoder: as of ``SimplePyramid``.
        injection: before each span of blocks the prior is added to the tokens, ``'add'``, or found
            by injectors, ``'attention'``.
        out_indices: last blocks of the spans, whose maps are used; default: of four equal spans.
        conv_inplane: channels of the spatial prior's stem.
        n_points: sampling points of the injectors.
        deform_num_heads: their heads.
        deform_ratio: width of their values relative to the ViT's.
        norm_eps: of the layer norms.
        norm_cfg: normalisation of the spatial prior, an MMEngine config; batch norm by default.

    Raises:
        ValueError: an unknown ``injection``, or as ``SimplePyramid``.
    """

    encoder_apart = False

    def __init__(
        self,
        encoder: dict[str, Any] | nn.Module,
        injection: Literal['add', 'attention'],
        *,
        out_indices: Sequence[int] | None = None,
        conv_inplane: int = 64,
        n_points: int = 4,
        deform_num_heads: int = 6,
        deform_ratio: float = 1.0,
        norm_eps: float = 1e-6,
        norm_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(encoder, out_indices=out_indices, norm_eps=norm_eps, norm_cfg=norm_cfg)
        dim = self.embed_dim
        if injection == 'add':
            make_injector = AddedPrior
        elif injection == 'attention':
            make_injector = partial(
                Injector,
                dim,
                deform_num_heads,
                n_points=n_points,
                deform_ratio=deform_ratio,
                norm=partial(nn.LayerNorm, eps=norm_eps),
            )
        else:
            raise ValueError(f"injection={injection!r} is unknown; choose 'add' or 'attention'")
        norm = norm_factory(norm_cfg or dict(type='BN'))
        self.spm = SpatialPriorModule(dim, conv_inplane, norm=norm)
        for module in self.spm.modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module)
        self.spm.fc1 = nn.Identity()  # the map of stride 4 goes to no injector
        self.level_embed = nn.Parameter(torch.zeros(3, dim))
        nn.init.normal_(self.level_embed)
        self.injectors = nn.ModuleList(make_injector() for _ in self.out_indices)

    def _run_encoder(self, images: Tensor) -> list[Tokens]:
        tokens = self.encoder.embed(images)
        _, *prior = self.spm(images)
        prior = [c + e[:, None, None] for c, e in zip(prior, self.level_embed, strict=True)]
        levels = [Level.of_image(*images.shape[-2:], stride) for stride in (8, 16, 32)]
        geometry = Geometry.of(Level(*tokens.hw, self.encoder.patch_size), levels, images)
        pyramid, start, outputs = flatten_maps(prior), 0, []
        for injector, last in zip(self.injectors, self.out_indices, strict=True):
            tokens = tokens.with_grid(injector(tokens.grid, pyramid, geometry))
            tokens = self.encoder.run(tokens, start, last + 1)
            start = last + 1
            outputs.append(tokens)
        return outputs
