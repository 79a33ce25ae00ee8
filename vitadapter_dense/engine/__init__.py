"""What runs the models: runner, loops, hooks, optimiser constructor, mixed precision on the CPU."""

from __future__ import annotations

from vitadapter_dense.engine.amp import AutocastOptimWrapper
from vitadapter_dense.engine.hooks import AtomicCheckpointHook, EvaluationRandomStateHook
from vitadapter_dense.engine.layer_decay import LayerDecayOptimWrapperConstructor
from vitadapter_dense.engine.loops import ResumableEpochLoop, ResumableIterLoop
from vitadapter_dense.engine.runner import DenseRunner

__all__ = [
    'AtomicCheckpointHook',
    'AutocastOptimWrapper',
    'DenseRunner',
    'EvaluationRandomStateHook',
    'LayerDecayOptimWrapperConstructor',
    'ResumableEpochLoop',
    'ResumableIterLoop',
]
