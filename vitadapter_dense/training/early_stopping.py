"""The patience of ``EarlyStoppingHook`` over a resume; MMEngine counts it anew."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import EarlyStoppingHook, Hook

_KEY = 'early_stopping'
_COUNTED = ('wait_count', 'best_score')


class EarlyStoppingStateHook(Hook):
    """Keeps in checkpoints what the run's ``EarlyStoppingHook`` has counted.

    ``DenseRunner`` registers it by itself. A checkpoint is written before the evaluation that
    follows it, and again if that gives a new best score; another evaluation is not in it.

    Args:
        hook: the one whose counts are kept.
    """

    def __init__(self, hook: EarlyStoppingHook) -> None:
        self.hook = hook

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Adds the counts."""
        checkpoint[_KEY] = {key: getattr(self.hook, key) for key in _COUNTED}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Takes the counts over in a resume."""
        if runner._resume and _KEY in checkpoint:
            vars(self.hook).update({key: checkpoint[_KEY][key] for key in _COUNTED})
