"""What stands on a backbone and the toolboxes lack: necks, heads and losses."""

from __future__ import annotations

from vitadapter_dense.heads.chosen_levels import ChosenLevels
from vitadapter_dense.heads.encoder_only_decoder import EncoderOnlyDecoder
from vitadapter_dense.heads.extra_attention import ExtraAttention
from vitadapter_dense.heads.logit_adjustment import LogitAdjustedLoss
from vitadapter_dense.heads.mask_heads import ObjectMaskHead, SemanticMaskHead
from vitadapter_dense.heads.mask_losses import MaskLosses, MaskTarget
from vitadapter_dense.heads.mask_predictor import MaskPrediction
from vitadapter_dense.heads.per_object_loss import PerObjectLoss
from vitadapter_dense.heads.pixel_cross_entropy import PixelCrossEntropyLoss
from vitadapter_dense.heads.plain_mask_decoder import PlainMaskDecoder
from vitadapter_dense.heads.prompt_memory import PromptMemory
from vitadapter_dense.heads.prompt_memory_detr import PromptMemoryDETR
from vitadapter_dense.heads.read_out import ReadOut
from vitadapter_dense.heads.stepwise_mask2former import StepwiseMask2FormerHead

__all__ = [
    'ChosenLevels',
    'EncoderOnlyDecoder',
    'ExtraAttention',
    'LogitAdjustedLoss',
    'MaskLosses',
    'MaskPrediction',
    'MaskTarget',
    'ObjectMaskHead',
    'PerObjectLoss',
    'PixelCrossEntropyLoss',
    'PlainMaskDecoder',
    'PromptMemory',
    'PromptMemoryDETR',
    'ReadOut',
    'SemanticMaskHead',
    'StepwiseMask2FormerHead',
]
