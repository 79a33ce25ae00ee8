"""What runs the models: runner, loops, hooks, optimiser constructor, mixed precision on the CPU."""

from __future__ import annotations

from vitadapter_dense.engine.amp import AutocastOptimWrapper
from vitadapter_dense.engine.check_labels import CheckLabelsHook
from vitadapter_dense.engine.confusion_matrix import ConfusionMatrix
from vitadapter_dense.engine.dump_predictions import DumpPredictions
from vitadapter_dense.engine.finite import FiniteLossHook
from vitadapter_dense.engine.float32_predictions import Float32PredictionsHook
from vitadapter_dense.engine.hooks import AtomicCheckpointHook, EvaluationRandomStateHook
from vitadapter_dense.engine.idle_parameters import IdleParametersHook
from vitadapter_dense.engine.instance_tta import InstanceTTAModel
from vitadapter_dense.engine.layer_decay import LayerDecayOptimWrapperConstructor
from vitadapter_dense.engine.loops import ResumableEpochLoop, ResumableIterLoop
from vitadapter_dense.engine.normalised_values import NormalisedValuesHook
from vitadapter_dense.engine.pictures import PredictionPicturesHook
from vitadapter_dense.engine.progress import ProgressBarHook
from vitadapter_dense.engine.runner import DenseRunner
from vitadapter_dense.engine.segmentation_tta import SegmentationTTAModel
from vitadapter_dense.engine.tuned_checkpoint import TunedCheckpointHook
from vitadapter_dense.engine.tuning_report import TuningReportHook

__all__ = [
    'AtomicCheckpointHook',
    'AutocastOptimWrapper',
    'CheckLabelsHook',
    'ConfusionMatrix',
    'DenseRunner',
    'DumpPredictions',
    'EvaluationRandomStateHook',
    'FiniteLossHook',
    'Float32PredictionsHook',
    'IdleParametersHook',
    'InstanceTTAModel',
    'LayerDecayOptimWrapperConstructor',
    'NormalisedValuesHook',
    'PredictionPicturesHook',
    'ProgressBarHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'SegmentationTTAModel',
    'TunedCheckpointHook',
    'TuningReportHook',
]
