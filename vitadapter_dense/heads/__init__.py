"""What heads need that the toolboxes lack."""

from __future__ import annotations

from vitadapter_dense.heads.pixel_cross_entropy import PixelCrossEntropyLoss

__all__ = ['PixelCrossEntropyLoss']
