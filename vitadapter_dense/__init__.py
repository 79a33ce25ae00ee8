"""ViT-Adapter backbones and tuning with few parameters for MMDetection 3 and MMSegmentation 1.

Importing the package registers its classes in MMEngine's root registries, so that both toolboxes
find them by their bare names. A config asks for it with
``custom_imports = dict(imports=['vitadapter_dense'])``.
"""

from __future__ import annotations

import mmcv_ops  # noqa: F401  (before anything imports mmcv.ops: operators for an mmcv without)
from vitadapter_cli import config_path, list_models, load_config
from vitadapter_dense.adapter import (
    ConvFFN,
    Extractor,
    Geometry,
    Injector,
    Interaction,
    SpatialPriorModule,
)
from vitadapter_dense.backbones import (
    LiteAdapter,
    OpenViT,
    PlainViT,
    PriorPyramid,
    SimplePyramid,
    TunedBackbone,
    ViTAdapter,
)
from vitadapter_dense.datasets import LoadAnnotationsChecked, LoadImageChecked
from vitadapter_dense.encoders import CachedEncoder, TimmStages, TimmViT, Tokens
from vitadapter_dense.heads import (
    ChosenLevels,
    EncoderOnlyDecoder,
    ExtraAttention,
    MaskAnnealingHook,
    ObjectMaskHead,
    PixelCrossEntropyLoss,
    PlainMaskDecoder,
    SemanticMaskHead,
)
from vitadapter_dense.inference import (
    InstanceTTAModel,
    MultiTaskModel,
    Predictor,
    SegmentationTTAModel,
    inferencer_config,
)
from vitadapter_dense.reports import (
    ConfusionMatrix,
    DumpPredictions,
    PredictionPicturesHook,
    ProgressBarHook,
    TuningReportHook,
)
from vitadapter_dense.training import (
    AtomicCheckpointHook,
    AutocastOptimWrapper,
    CheckLabelsHook,
    DenseRunner,
    EvaluationRandomStateHook,
    FiniteLossHook,
    Float32PredictionsHook,
    IdleParametersHook,
    LayerDecayOptimWrapperConstructor,
    NormalisedValuesHook,
    ResumableEpochLoop,
    ResumableIterLoop,
    TunedCheckpointHook,
)
from vitadapter_dense.tuning import (
    SSF,
    Adapter,
    AdaptFormer,
    BiasTuning,
    Convpass,
    FullTuning,
    HeadOnly,
    LoRA,
    MLPHead,
    Mona,
    NormTuning,
    PartialTuning,
    ProTuning,
    SideTuning,
    Tuning,
    VisualPromptTuning,
)

__version__ = '0.2.0'

__all__ = [
    'AdaptFormer',
    'Adapter',
    'AtomicCheckpointHook',
    'AutocastOptimWrapper',
    'BiasTuning',
    'CachedEncoder',
    'CheckLabelsHook',
    'ChosenLevels',
    'ConfusionMatrix',
    'ConvFFN',
    'Convpass',
    'DenseRunner',
    'DumpPredictions',
    'EvaluationRandomStateHook',
    'ExtraAttention',
    'Extractor',
    'FiniteLossHook',
    'Float32PredictionsHook',
    'FullTuning',
    'Geometry',
    'HeadOnly',
    'IdleParametersHook',
    'Injector',
    'InstanceTTAModel',
    'Interaction',
    'LayerDecayOptimWrapperConstructor',
    'LiteAdapter',
    'LoRA',
    'LoadAnnotationsChecked',
    'LoadImageChecked',
    'MLPHead',
    'Mona',
    'MultiTaskModel',
    'NormTuning',
    'NormalisedValuesHook',
    'PartialTuning',
    'PixelCrossEntropyLoss',
    'PlainViT',
    'PredictionPicturesHook',
    'Predictor',
    'PriorPyramid',
    'ProTuning',
    'ProgressBarHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'SSF',
    'SegmentationTTAModel',
    'SideTuning',
    'SimplePyramid',
    'SpatialPriorModule',
    'TimmStages',
    'TimmViT',
    'Tokens',
    'TunedBackbone',
    'TunedCheckpointHook',
    'Tuning',
    'TuningReportHook',
    'ViTAdapter',
    'VisualPromptTuning',
    '__version__',
    'config_path',
    'inferencer_config',
    'list_models',
    'load_config',
    'EncoderOnlyDecoder',
    'MaskAnnealingHook',
    'ObjectMaskHead',
    'PlainMaskDecoder',
    'SemanticMaskHead',
    'OpenViT',
]
