"""What heads need that the toolboxes lack."""

from __future__ import annotations

from vitadapter_dense.heads.encoder_only_decoder import EncoderOnlyDecoder
from vitadapter_dense.heads.mask_heads import ObjectMaskHead, SemanticMaskHead
from vitadapter_dense.heads.mask_losses import MaskLosses, MaskTarget
from vitadapter_dense.heads.mask_predictor import MaskPrediction
from vitadapter_dense.heads.masked_attention import MaskAnnealingHook
from vitadapter_dense.heads.pixel_cross_entropy import PixelCrossEntropyLoss
from vitadapter_dense.heads.plain_mask_decoder import PlainMaskDecoder

__all__ = [
    'EncoderOnlyDecoder',
    'MaskAnnealingHook',
    'MaskLosses',
    'MaskPrediction',
    'MaskTarget',
    'ObjectMaskHead',
    'PixelCrossEntropyLoss',
    'PlainMaskDecoder',
    'SemanticMaskHead',
]
