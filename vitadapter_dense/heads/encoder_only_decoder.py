"""``EncoderOnlyDecoder``: the last blocks of the encoder itself take the queries, after EoMT.

EoMT: "Your ViT is Secretly an Image Segmentation Model", Kerssies et al., CVPR 2025,
https://arxiv.org/abs/2503.19108, section 3.2. There is no adapter, no pixel decoder and no decoder:
queries stand before the tokens of the image and go through the last blocks with them. The encoder
must train, which makes it the honest baseline of any adapter.

Its final norm is the head's here, begins at 1 and 0, and is not the pre-trained one.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from vitadapter_dense.encoders import OpenEncoding, Tokens
from vitadapter_dense.heads.mask_predictor import MaskPrediction, MaskPredictor
from vitadapter_dense.heads.masked_attention import attention_mask


@MODELS.register_module()
class EncoderOnlyDecoder(BaseModule):
    """What :class:`~vitadapter_dense.backbones.OpenViT` began -> predictions of queries.

    Args:
        num_classes: without 'no object'.
        num_queries: as many objects (or classes, in semantic segmentation) an image may have.
        width: channels of the encoder.
        num_blocks: of the encoder that take the queries: ``open_blocks`` of the backbone.
        stride: pixels of the encoder's patches.

    Attributes:
        mask_probabilities: of each block, that a query looks only where its mask is, while
            training; set by ``MaskAnnealingHook``; 0 without it.
    """

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        *,
        width: int,
        num_blocks: int,
        stride: int = 16,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.queries = nn.Embedding(num_queries, width)
        self.predictor = MaskPredictor(width, num_classes, stride=stride)
        self.mask_probabilities = [0.0] * num_blocks

    def forward(self, begun: OpenEncoding) -> list[MaskPrediction]:
        """Predictions before each block and behind the last; in eval mode the last one alone.

        Raises:
            ValueError: the backbone left another number of blocks open, or is none that does.
        """
        self._check(begun)
        tokens, count = begun.tokens, self.queries.num_embeddings
        queries = self.queries.weight.expand(tokens.x.shape[0], -1, -1)
        tokens = replace(
            tokens,
            x=torch.cat([queries, tokens.x], dim=1),
            num_prefix=tokens.num_prefix + count,
        )
        predictions = []
        for index, probability in enumerate(self.mask_probabilities):
            mask = None
            if self.training:
                predictions.append(self._predict(tokens))
                if probability > 0:
                    mask = attention_mask(
                        predictions[-1].masks,
                        tokens.hw,
                        others=tokens.num_prefix - count,
                        probability=probability,
                    )
            tokens = begun.run(replace(tokens, attention_mask=mask), index)
        return [*predictions, self._predict(tokens)]

    def _predict(self, tokens: Tokens) -> MaskPrediction:
        queries = tokens.x[:, : self.queries.num_embeddings]
        return self.predictor(queries, tokens.grid, tokens.hw)

    def _check(self, begun: OpenEncoding) -> None:
        open_blocks = getattr(begun, 'open_blocks', None)
        if open_blocks != len(self.mask_probabilities):
            raise ValueError(
                f'EncoderOnlyDecoder has num_blocks={len(self.mask_probabilities)}, but the '
                f'backbone leaves {open_blocks or "none"} open: take OpenViT, with open_blocks='
                f'{len(self.mask_probabilities)}'
            )
        width = self.queries.embedding_dim
        if begun.tokens.x.shape[-1] != width:
            raise ValueError(
                f'EncoderOnlyDecoder has width={width}, but the encoder has '
                f'{begun.tokens.x.shape[-1]} channels: set width to them'
            )
