"""Backbones: what a detector, segmentor or classifier sees, image in, maps or a vector out."""

from __future__ import annotations

from vitadapter_dense.backbones.lite_adapter import LiteAdapter
from vitadapter_dense.backbones.open_vit import OpenViT
from vitadapter_dense.backbones.plain_vit import PlainViT
from vitadapter_dense.backbones.prior_pyramid import PriorPyramid
from vitadapter_dense.backbones.simple_pyramid import SimplePyramid
from vitadapter_dense.backbones.token_read_out import TokenReadOut
from vitadapter_dense.backbones.tuned_backbone import TunedBackbone
from vitadapter_dense.backbones.vit_adapter import ViTAdapter

__all__ = [
    'LiteAdapter',
    'OpenViT',
    'PlainViT',
    'PriorPyramid',
    'SimplePyramid',
    'TokenReadOut',
    'TunedBackbone',
    'ViTAdapter',
]
