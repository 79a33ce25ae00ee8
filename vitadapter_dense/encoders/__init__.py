"""Encoders: what is pre-trained and may be frozen."""

from __future__ import annotations

from vitadapter_dense.encoders.cached import CachedEncoder
from vitadapter_dense.encoders.open_encoding import OpenEncoding
from vitadapter_dense.encoders.timm_read_out import TimmReadOut
from vitadapter_dense.encoders.timm_stages import TimmStages
from vitadapter_dense.encoders.timm_vit import TimmViT
from vitadapter_dense.encoders.tokens import Tokens

__all__ = [
    'CachedEncoder',
    'OpenEncoding',
    'TimmReadOut',
    'TimmStages',
    'TimmViT',
    'Tokens',
]
