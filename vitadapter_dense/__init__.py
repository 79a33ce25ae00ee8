"""ViT-Adapter backbones and tuning with few parameters for MMDetection 3 and MMSegmentation 1.

Importing the package registers its classes in MMEngine's root registries, so that both toolboxes
find them by their bare names. A config asks for it with
``custom_imports = dict(imports=['vitadapter_dense'])``.
"""

from __future__ import annotations

import mmcv_ops  # noqa: F401  (before anything imports mmcv.ops: operators for an mmcv without)
from vitadapter_dense import datasets, heads, inference, reports, training, tuning
from vitadapter_dense.backbones import PlainViT, SimplePyramid, ViTAdapter
from vitadapter_dense.encoders import TimmStages, TimmViT, Tokens

__version__ = '0.1.0'

__all__ = [
    'PlainViT',
    'SimplePyramid',
    'TimmStages',
    'TimmViT',
    'Tokens',
    'ViTAdapter',
    '__version__',
    'datasets',
    'heads',
    'inference',
    'reports',
    'training',
    'tuning',
]
