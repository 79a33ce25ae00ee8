"""``Interaction``: inject, run a span of ViT blocks, extract.

ViT-Adapter (https://arxiv.org/abs/2205.08534), figure 4 (d) and (e): one interaction wraps a span
of the ViT's blocks, which it is handed as a callable; it knows nothing of the ViT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitadapter_dense.adapter.extractor import Extractor
from vitadapter_dense.adapter.geometry import Geometry
from vitadapter_dense.adapter.injector import Injector


class Interaction(nn.Module):
    """One interaction between a span of ViT blocks and the pyramid.

    Args:
        make_injector: makes the injector, ``None`` for an adapter that leaves the ViT untouched.
        make_extractor: makes an extractor.
        num_extra_extractors: extractors after the first; the last interaction has two.
        with_cp: recompute injector and extractors in the backward pass.
    """

    def __init__(
        self,
        make_injector: Callable[[], Injector] | None,
        make_extractor: Callable[[], Extractor],
        *,
        num_extra_extractors: int = 0,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.injector = make_injector() if make_injector else None
        self.extractor = make_extractor()
        self.extra_extractors = (
            nn.ModuleList(make_extractor() for _ in range(num_extra_extractors))
            if num_extra_extractors
            else None
        )
        self.with_cp = with_cp

    def _call(self, module: nn.Module, *args: Any) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(module, *args, use_reentrant=False)
        return module(*args)

    def forward(
        self,
        tokens: Tensor,
        pyramid: Tensor,
        run_blocks: Callable[[Tensor], Tensor],
        geometry: Geometry,
    ) -> tuple[Tensor, Tensor]:
        """Runs the interaction.

        Args:
            tokens: ``(B, N, C)``, the ViT's map.
            pyramid: ``(B, S, C)``, the levels one after the other.
            run_blocks: the span of blocks, ``(B, N, C)`` -> ``(B, N, C)``.
            geometry: where tokens and pyramid stand.

        Returns:
            Tokens and pyramid, in the shapes that they came.
        """
        if self.injector is not None:
            tokens = self._call(self.injector, tokens, pyramid, geometry)
        tokens = run_blocks(tokens)
        for extractor in (self.extractor, *(self.extra_extractors or ())):
            pyramid = self._call(extractor, pyramid, tokens, geometry)
        return tokens, pyramid
