"""``ClassCountsHook``: tells losses for long tails how many images each class has."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from vitadapter_dense.datasets.classification import count_labels
from vitadapter_dense.training.errors import SettingsError


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Counts the training set before the first step, for every loss with `set_counts`.

    Raises:
        SettingsError: no such loss (`LogitAdjustedLoss`), or counts that it cannot use.
    """

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        losses = [module for module in model.modules() if hasattr(module, 'set_counts')]
        if not losses:
            raise SettingsError(
                'ClassCountsHook is there, but no loss that takes counts: set '
                "loss=dict(type='LogitAdjustedLoss', num_classes=...) in the head, or drop the hook"
            )
        counts = count_labels(runner.train_dataloader.dataset).tolist()
        for loss in losses:
            try:
                loss.set_counts(counts)
            except ValueError as error:
                raise SettingsError(str(error)) from error
