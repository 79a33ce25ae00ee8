"""Data: the generated shapes, classification sets, checks of files, checked loaders."""

from __future__ import annotations

from .check_coco import (
    check_coco_annotations,
    check_config_datasets,
    check_dataset_config,
    log_remarks,
)
from .class_balanced_sampler import ClassBalancedSampler
from .coco_summary import CocoSummary
from .corruption import SeededCorruption
from .errors import DatasetError
from .listed_images import ListedImages
from .load_panoptic import LoadPanopticChecked
from .load_seg_map import LoadAnnotationsChecked
from .loading import LoadImageChecked, LoadImageOfSet
from .long_tail import LongTailed
from .object_crops import LoadImageCrop, ObjectCrops
from .shapes import SHAPES_CLASSES, SHAPES_METAINFO, SHAPES_PALETTE, generate_shapes
from .single_shapes import SINGLE_SHAPES, DrawShape, SingleShapes
from .vtab import VTAB_TASKS

__all__ = [
    'SHAPES_CLASSES',
    'SHAPES_METAINFO',
    'SHAPES_PALETTE',
    'SINGLE_SHAPES',
    'ClassBalancedSampler',
    'CocoSummary',
    'DatasetError',
    'DrawShape',
    'ListedImages',
    'LoadAnnotationsChecked',
    'LoadImageChecked',
    'LoadImageCrop',
    'LoadImageOfSet',
    'LoadPanopticChecked',
    'LongTailed',
    'ObjectCrops',
    'SeededCorruption',
    'SingleShapes',
    'VTAB_TASKS',
    'check_coco_annotations',
    'check_config_datasets',
    'check_dataset_config',
    'generate_shapes',
    'log_remarks',
]
