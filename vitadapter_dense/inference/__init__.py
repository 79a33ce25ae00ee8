"""A trained model at work: the predictor, test-time augmentation, many tasks."""

from __future__ import annotations

from vitadapter_dense.inference.exported import ExportedPredictor
from vitadapter_dense.inference.instance_tta import InstanceTTAModel
from vitadapter_dense.inference.large_images import LargeImagesHook
from vitadapter_dense.inference.multi_task import MultiTaskModel
from vitadapter_dense.inference.prediction import Prediction
from vitadapter_dense.inference.predictor import Predictor, inferencer_config
from vitadapter_dense.inference.segmentation_tta import SegmentationTTAModel

__all__ = [
    'ExportedPredictor',
    'InstanceTTAModel',
    'LargeImagesHook',
    'MultiTaskModel',
    'Prediction',
    'Predictor',
    'SegmentationTTAModel',
    'inferencer_config',
]
