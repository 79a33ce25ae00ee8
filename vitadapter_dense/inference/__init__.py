"""A trained model at work: the predictor, test-time augmentation, many tasks."""

from __future__ import annotations

from vitadapter_dense.inference.instance_tta import InstanceTTAModel
from vitadapter_dense.inference.segmentation_tta import SegmentationTTAModel

__all__ = [
    'InstanceTTAModel',
    'SegmentationTTAModel',
]
