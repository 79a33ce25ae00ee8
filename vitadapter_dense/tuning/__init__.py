"""Tuning with few parameters: one interface, a file a method."""

from __future__ import annotations

from vitadapter_dense.tuning.adapter import Adapter
from vitadapter_dense.tuning.adaptformer import AdaptFormer
from vitadapter_dense.tuning.base import Tuning, TuningList, build_tuning
from vitadapter_dense.tuning.convpass import Convpass
from vitadapter_dense.tuning.lora import LoRA
from vitadapter_dense.tuning.mona import Mona
from vitadapter_dense.tuning.outputs import MLPHead, SideTuning
from vitadapter_dense.tuning.pro_tuning import ProTuning
from vitadapter_dense.tuning.selective import (
    BiasTuning,
    FullTuning,
    HeadOnly,
    NormTuning,
    PartialTuning,
)
from vitadapter_dense.tuning.ssf import SSF
from vitadapter_dense.tuning.vpt import VisualPromptTuning

__all__ = [
    'SSF',
    'AdaptFormer',
    'Adapter',
    'BiasTuning',
    'Convpass',
    'FullTuning',
    'HeadOnly',
    'LoRA',
    'MLPHead',
    'Mona',
    'NormTuning',
    'PartialTuning',
    'ProTuning',
    'SideTuning',
    'Tuning',
    'TuningList',
    'VisualPromptTuning',
    'build_tuning',
]
