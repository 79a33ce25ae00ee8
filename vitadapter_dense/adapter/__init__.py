"""The modules of ViT-Adapter (https://arxiv.org/abs/2205.08534): plain tensors in and out."""

from __future__ import annotations

from vitadapter_dense.adapter.extractor import ConvFFN, Extractor
from vitadapter_dense.adapter.geometry import Geometry
from vitadapter_dense.adapter.injector import AddedPrior, Injector
from vitadapter_dense.adapter.interaction import Interaction
from vitadapter_dense.adapter.lite_prior import LitePrior
from vitadapter_dense.adapter.spatial_prior import SpatialPriorModule

__all__ = [
    'AddedPrior',
    'ConvFFN',
    'Extractor',
    'Geometry',
    'Injector',
    'Interaction',
    'LitePrior',
    'SpatialPriorModule',
]
