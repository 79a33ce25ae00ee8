"""``TokenReadOut``: one vector an image from a plain ViT, for classifiers.

What a classifier reads differs with the pre-training: the CLS token (DeiT, AugReg, VPT's tables),
the average of the map (BEiT, SigLIP, fine-tuned MAE), or what became of a tuning method's prompts
(Visual Prompt Tuning, https://arxiv.org/abs/2203.12119, figure 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.backbones.encoder_backbone import EncoderBackbone
from vitadapter_dense.tuning.base import Tuning

Source = Literal['average', 'cls', 'prompts']
_SOURCES = ('average', 'cls', 'prompts')


@MODELS.register_module()
class TokenReadOut(EncoderBackbone):
    """A plain ViT -> its final norm -> one vector ``(B, C)``.

    Args:
        encoder: config of the encoder (``type='TimmViT'``), or the encoder itself. Given as a
            config it keeps its final norm, and its CLS token where that is read.
        source: what is read: the ``'average'`` of the map's tokens, the ``'cls'`` token, or the
            average of the ``'prompts'`` of a ``VisualPromptTuning`` that is among ``tuning``.
        tuning: config of a method, or a list of them, for the encoder; ``None``: it trains, or is
            ``frozen``, whole.

    Raises:
        ValueError: an unknown source, or an encoder or a method without it.
    """

    def __init__(
        self,
        encoder: dict[str, Any] | nn.Module,
        source: Source = 'average',
        *,
        tuning: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
    ) -> None:
        if source not in _SOURCES:
            raise ValueError(f'source={source!r}; it must be one of {", ".join(_SOURCES)}')
        if isinstance(encoder, dict):
            encoder = dict(encoder, keep_final_norm=True)
            if source == 'cls':
                encoder['keep_prefix_tokens'] = True
        super().__init__(encoder)
        name = getattr(self.encoder, 'model_name', type(self.encoder).__name__)
        if not getattr(self.encoder, 'keep_final_norm', False):
            raise ValueError(
                f'the encoder {name!r} was built without its final norm: set keep_final_norm=True'
            )
        if source == 'cls' and getattr(self.encoder, 'cls_token', None) is None:
            raise ValueError(
                f"source='cls', but the encoder {name!r} has no CLS token: set source='average', "
                f'or choose an encoder that was trained with one (DeiT, AugReg, MAE, DINOv2, ...)'
            )
        self.source, self.embed_dim = source, self.encoder.embed_dim
        if tuning is not None:
            self._tune_encoder(tuning)
        if source == 'prompts' and not self._has_prompts():
            raise ValueError(
                "source='prompts', but no method of this read-out leaves prompts: set tuning="
                "dict(type='VisualPromptTuning') here (location='prepend', the default), not in a "
                "TunedBackbone around it, or set source='cls' or 'average'"
            )

    def _has_prompts(self) -> bool:
        methods = getattr(self.tuning, 'methods', [self.tuning])
        return any(
            isinstance(method, Tuning) and getattr(method, 'leaves_prompts', False)
            for method in methods
        )

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """``(B, 3, H, W)`` of any size -> ``(B, C)``."""
        return (self._call_encoder(self._read, images),)

    def _read(self, images: Tensor) -> Tensor:
        (tokens,) = self.encoder.run_through(images, [self.encoder.depth - 1])
        if self.source == 'cls':
            return self.encoder.fc_norm(self.encoder.normed(tokens.x)[:, 0])
        read = tokens.grid if self.source == 'average' else tokens.prompts
        # in float32: an average over many tokens of 16 bits is rounded
        average = self.encoder.normed(read).to(torch.float32).mean(dim=1)
        return self.encoder.fc_norm(average)
