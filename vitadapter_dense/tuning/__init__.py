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
from vitadapter_dense.tuning.prompt_generators import (
    ClsPromptGenerator,
    PooledPromptGenerator,
    VAEPromptGenerator,
)
from vitadapter_dense.tuning.prompt_pool import PromptPool
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
    'ClsPromptGenerator',
    'Convpass',
    'FullTuning',
    'HeadOnly',
    'LoRA',
    'MLPHead',
    'Mona',
    'NormTuning',
    'PartialTuning',
    'PooledPromptGenerator',
    'ProTuning',
    'PromptPool',
    'SideTuning',
    'Tuning',
    'TuningList',
    'VAEPromptGenerator',
    'VisualPromptTuning',
    'build_tuning',
]
