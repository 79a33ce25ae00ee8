"""What a training says before it begins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from vitadapter_dense.reports.summary import summary


@pytest.mark.parametrize('validated', [True, False])
def test_a_training_with_or_without_validation_says_what_it_is(validated: bool) -> None:
    """Without validation the runner has no loop to ask."""

    class Runner(SimpleNamespace):
        """As MMEngine's, whose data loader is that of the loop."""

        @property
        def val_dataloader(self) -> object:
            return self.val_loop.dataloader

    loader = SimpleNamespace(dataset=range(7), batch_size=2)
    shown = summary(
        Runner(
            model=nn.Linear(3, 4),
            train_dataloader=loader,
            val_loop=SimpleNamespace(dataloader=loader) if validated else None,
            max_epochs=2,
            max_iters=8,
            iter=0,
            optim_wrapper=None,
            work_dir='work',
        )
    )
    assert shown['training'].startswith('7 images, batch 2 x 1 process, 2 epochs, 8 iterations')
    assert ('validation' in shown) == validated
