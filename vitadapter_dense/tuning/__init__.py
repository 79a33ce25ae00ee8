"""Tuning with few parameters: one interface, a file a method."""

from __future__ import annotations

from vitadapter_dense.tuning.base import Tuning, TuningList, build_tuning
from vitadapter_dense.tuning.selective import BiasTuning, FullTuning, HeadOnly, PartialTuning

__all__ = [
    'BiasTuning',
    'FullTuning',
    'HeadOnly',
    'PartialTuning',
    'Tuning',
    'TuningList',
    'build_tuning',
]
