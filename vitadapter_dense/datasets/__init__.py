"""Data: the generated shapes, checks of COCO and other files, checked loaders."""

from __future__ import annotations

from .check_coco import (
    check_coco_annotations,
    check_config_datasets,
    check_dataset_config,
    log_remarks,
)
from .coco_summary import CocoSummary
from .corruption import SeededCorruption
from .errors import DatasetError
from .load_panoptic import LoadPanopticChecked
from .load_seg_map import LoadAnnotationsChecked
from .loading import LoadImageChecked
from .shapes import SHAPES_CLASSES, SHAPES_METAINFO, SHAPES_PALETTE, generate_shapes

__all__ = [
    'SHAPES_CLASSES',
    'SHAPES_METAINFO',
    'SHAPES_PALETTE',
    'CocoSummary',
    'DatasetError',
    'LoadAnnotationsChecked',
    'LoadImageChecked',
    'LoadPanopticChecked',
    'SeededCorruption',
    'check_coco_annotations',
    'check_config_datasets',
    'check_dataset_config',
    'generate_shapes',
    'log_remarks',
]
