"""The runner and what it needs to repeat itself: loops, resume, hooks, precision."""

from __future__ import annotations

from vitadapter_dense.training.amp import AutocastOptimWrapper
from vitadapter_dense.training.check_labels import CheckLabelsHook
from vitadapter_dense.training.class_counts import ClassCountsHook
from vitadapter_dense.training.finite import FiniteLossHook
from vitadapter_dense.training.float32_predictions import Float32PredictionsHook
from vitadapter_dense.training.hooks import AtomicCheckpointHook, EvaluationRandomStateHook
from vitadapter_dense.training.idle_parameters import IdleParametersHook
from vitadapter_dense.training.layer_decay import LayerDecayOptimWrapperConstructor
from vitadapter_dense.training.loops import ResumableEpochLoop, ResumableIterLoop
from vitadapter_dense.training.mask_annealing import MaskAnnealingHook
from vitadapter_dense.training.method_losses import MethodLossesHook
from vitadapter_dense.training.normalised_values import NormalisedValuesHook
from vitadapter_dense.training.paced_logger import PacedLoggerHook
from vitadapter_dense.training.prompt_start import PromptStartHook
from vitadapter_dense.training.runner import DenseRunner
from vitadapter_dense.training.sharding import FullySharded
from vitadapter_dense.training.tuned_checkpoint import TunedCheckpointHook

__all__ = [
    'AtomicCheckpointHook',
    'AutocastOptimWrapper',
    'CheckLabelsHook',
    'ClassCountsHook',
    'DenseRunner',
    'EvaluationRandomStateHook',
    'FiniteLossHook',
    'Float32PredictionsHook',
    'FullySharded',
    'IdleParametersHook',
    'LayerDecayOptimWrapperConstructor',
    'MaskAnnealingHook',
    'MethodLossesHook',
    'NormalisedValuesHook',
    'PacedLoggerHook',
    'PromptStartHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'TunedCheckpointHook',
]
