"""MMEngine's training loops, made to go on exactly where a checkpoint was taken.

The random state of the process is put back before the first step, the data start at the very batch,
and what lies before it is skipped by index, without loading it.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from vitadapter_dense.training.random_state import set_random_state
from vitadapter_dense.training.seeded_data import SeededBatchSampler, seeded_dataloader


class _ResumableLoop:
    """What both loops share: the seeded loader, the random state that waits for the first step."""

    def _seed_data(self, *, endless: bool) -> None:
        """Replaces the loader by its seeded twin."""
        runner = self.runner
        offset = runner.rank if runner._randomness_cfg.get('diff_rank_seed', False) else 0
        self.dataloader = seeded_dataloader(
            self.dataloader, seed=runner.seed - offset, endless=endless
        )
        self.batches: SeededBatchSampler = self.dataloader.batch_sampler
        self._waiting_state: Mapping[str, Any] | None = None

    def data_state(self, epoch: int, iteration: int) -> dict[str, Any]:
        """Where the data stand, to be saved with a checkpoint of ``(epoch, iteration)``."""
        return dict(
            sample_seed=self.batches.seed,
            sampler_seed=getattr(self.batches.sampler, 'seed', None),
            batch=self._batch_number(epoch, iteration),
            batches_per_epoch=len(self.batches),
        )

    def resume_at(
        self,
        *,
        epoch: int,
        iteration: int,
        data: Mapping[str, Any] | None,
        state: Mapping[str, Any] | None,
    ) -> None:
        """Makes the loop go on from a checkpoint.

        Args:
            epoch: finished epochs.
            iteration: finished iterations.
            data: what ``data_state`` returned, or None for a checkpoint of another runner.
            state: what ``random_state`` returned in this process, or None.
        """
        self._epoch = epoch
        self._iter = iteration
        self._waiting_state = state
        if data is not None:
            self.batches.seed = data['sample_seed']
            if data['sampler_seed'] is not None:
                self.batches.sampler.seed = data['sampler_seed']
        self._resume_data(data)

    def _restore_random_state(self) -> None:
        if self._waiting_state is not None:
            set_random_state(self._waiting_state)
            self._waiting_state = None


@LOOPS.register_module()
class ResumableEpochLoop(_ResumableLoop, EpochBasedTrainLoop):
    """``EpochBasedTrainLoop`` that resumes exactly, between epochs and within one.

    Takes the arguments of ``EpochBasedTrainLoop``.
    """

    def __init__(self, runner: Any, dataloader: Any, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, **kwargs)
        self._seed_data(endless=False)
        self._first_batch = 0
        self._epoch_began_at = 0  # iteration number

    def _batch_number(self, epoch: int, iteration: int) -> int:
        return iteration - self._epoch_began_at if epoch == self._epoch else 0

    def _resume_data(self, data: Mapping[str, Any] | None) -> None:
        self._first_batch = data['batch'] if data is not None else 0
        if data is not None and self._first_batch > data['batches_per_epoch']:
            # of a run by iterations, whose epochs are not counted
            self._epoch, self._first_batch = divmod(self._iter, len(self.batches))
        if self._first_batch and data['batches_per_epoch'] != len(self.batches):
            print_log(
                f'the checkpoint was taken at batch {self._first_batch} of '
                f'{data["batches_per_epoch"]}, an epoch now has {len(self.batches)} batches: epoch '
                f'{self._epoch + 1} starts over. Keep the dataset, the batch size '
                'and the number of processes for an exact resume.',
                logger='current',
                level=logging.WARNING,
            )
            self._first_batch = 0
        self._epoch_began_at = self._iter - self._first_batch

    def run_epoch(self) -> None:
        """Trains one epoch, from the batch where the checkpoint was taken."""
        first, self._first_batch = self._first_batch, 0
        if first in (0, len(self.batches)):
            self._restore_random_state()
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self.batches.begin(epoch=self._epoch, skip=first)
        for number, batch in enumerate(self.dataloader, first):
            self.run_iter(number, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self._epoch_began_at = self._iter

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Trains one iteration; ``idx`` is the batch's number in the epoch."""
        self._restore_random_state()
        super().run_iter(idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(_ResumableLoop, IterBasedTrainLoop):
    """``IterBasedTrainLoop`` that resumes exactly, with any batch sampler and number of workers.

    Takes the arguments of ``IterBasedTrainLoop``.
    """

    def __init__(self, runner: Any, dataloader: Any, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, **kwargs)
        self._seed_data(endless=True)
        self.dataloader_iterator = _BatchStream(self.dataloader)

    def _batch_number(self, epoch: int, iteration: int) -> int:
        return iteration

    def _resume_data(self, data: Mapping[str, Any] | None) -> None:
        """The loop itself asks its iterator to skip what has been trained, and has no epochs."""
        self._epoch = 0

    def run_iter(self, data_batch: Any) -> None:
        """Trains one iteration."""
        self._restore_random_state()
        super().run_iter(data_batch)


class _BatchStream:
    """Batches without end. The workers start with the first one, after any skip."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._iterator: Iterator | None = None

    def skip_iter(self, num_iters: int) -> None:
        """Leaves out the first ``num_iters`` batches by index; nothing is loaded."""
        self._loader.batch_sampler.begin(skip=num_iters)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._loader)
        return next(self._iterator)


def resumable(loop: dict[str, Any]) -> dict[str, Any]:
    """The config of a training loop, with MMEngine's own loops replaced by the resumable ones.

    A loop of another class is kept; the resume it does is then its own affair.
    """
    loop = copy.deepcopy(loop)
    if 'type' in loop:
        kind = LOOPS.get(loop['type']) if isinstance(loop['type'], str) else loop['type']
    elif 'by_epoch' in loop:
        kind = EpochBasedTrainLoop if loop.pop('by_epoch') else IterBasedTrainLoop
    else:
        raise ValueError(f'train_cfg={loop} names no loop; set by_epoch=True or False, or a type')
    twin = {EpochBasedTrainLoop: ResumableEpochLoop, IterBasedTrainLoop: ResumableIterLoop}
    if kind in twin:
        loop['type'] = twin[kind]
    elif kind not in twin.values():
        print_log(
            f'{loop["type"]} is not known to resume exactly: its data are not seeded by position',
            logger='current',
            level=logging.WARNING,
        )
    return loop
