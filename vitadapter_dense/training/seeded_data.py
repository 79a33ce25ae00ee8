"""Training data whose augmentation depends on the seed and the position in the run alone.

MMEngine seeds every data worker once. What a sample looks like then depends on the number of
workers and on what its worker did before, and a resumed run sees other samples. Here every sample
carries its own seed, drawn from (seed, process, epoch, batch, slot): the same sample comes out in
any worker, in any process and after any resume, and loading it leaves the process's generators as
they were (those of drop-path among them).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from torch.utils.data import DataLoader, IterableDataset, Sampler

from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.training.random_state import seeded


class SampleIndex(NamedTuple):
    """What the dataset is asked for: an index of it, and the seed of this very sample."""

    index: Any
    seed: int


class SeededDataset:
    """A dataset that seeds the host's generators for the time of loading a sample.

    Attributes are read from and written to the wrapped dataset, as hooks expect that switch its
    pipeline.

    Args:
        dataset: map-style dataset.
    """

    def __init__(self, dataset: Any) -> None:
        object.__setattr__(self, 'dataset', dataset)

    def __getitem__(self, index: SampleIndex | Any) -> Any:
        if not isinstance(index, SampleIndex):
            return self.dataset[index]
        with seeded(index.seed):
            return self.dataset[index.index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset' or name.startswith('__'):  # not there yet while unpickling in a worker
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)

    def __reduce__(self) -> tuple:
        return SeededDataset, (self.dataset,)


class SeededBatchSampler(Sampler):
    """Adds a seed to every index of a batch sampler, and can start anywhere without loading.

    Args:
        batch_sampler: yields lists of indices; its ``sampler`` may have ``set_epoch``.
        seed: seed of the run.
        rank: number of this process.
        endless: start over, with the next epoch number, when the batch sampler is through.
    """

    def __init__(self, batch_sampler: Any, *, seed: int, rank: int, endless: bool) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.rank = rank
        self.endless = endless
        self._epoch = 0
        self._skip = 0

    @property
    def sampler(self) -> Any:
        """The sampler below, where MMEngine's hooks look for it."""
        return self.batch_sampler.sampler

    @property
    def batch_size(self) -> int:
        """Samples in a full batch."""
        return self.batch_sampler.batch_size

    @property
    def drop_last(self) -> bool:
        """Whether a batch that is not full is left out."""
        return self.batch_sampler.drop_last

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def begin(self, *, epoch: int = 0, skip: int = 0) -> None:
        """Sets where the next iteration starts: at the epoch's batch number ``skip``."""
        self._epoch = epoch
        self._skip = skip

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        epoch, skip, self._skip = self._epoch, self._skip, 0
        for number, batch in enumerate(self._shared(self._batches(epoch))):
            if number < skip:
                continue
            yield [
                SampleIndex(index, self._sample_seed(epoch, number, slot))
                for slot, index in enumerate(batch)
            ]

    def _shared(self, batches: Iterator[list]) -> Iterator[list]:
        """As many batches of an epoch as every process has.

        A sampler that groups images by their shape and drops what is left over gives each process
        another number, and the one with more would wait for the others for ever.
        """
        if self.endless or get_world_size() == 1:
            return batches
        whole = list(batches)
        count = torch.tensor(len(whole))
        all_reduce(count, op='min')
        return iter(whole[: int(count)])

    def _batches(self, epoch: int) -> Iterator[list]:
        while True:
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            empty = True
            for batch in self.batch_sampler:
                empty = False
                yield batch
            if empty:
                raise DatasetError(
                    'the training dataset gives no batch; check its size, filter and drop_last'
                )
            if not self.endless:
                return
            epoch += 1

    def _sample_seed(self, epoch: int, number: int, slot: int) -> int:
        sequence = np.random.SeedSequence((self.seed, self.rank, epoch, number, slot))
        return int(sequence.generate_state(1, np.uint64)[0]) >> 1


def seeded_dataloader(loader: DataLoader, *, seed: int, endless: bool) -> DataLoader:
    """The same loader with a seed for every sample.

    Args:
        loader: loader of a map-style dataset in batches.
        seed: seed of the run, the same in every process.
        endless: for training by iterations; see ``SeededBatchSampler``.

    Raises:
        TypeError: an iterable dataset, or a loader without batches: there is no position to seed
            from.
    """
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        raise TypeError(
            'training needs a map-style dataset in batches to be repeatable, got '
            f'{type(loader.dataset).__name__} with batch_size={loader.batch_size}; set batch_size '
            'or batch_sampler in train_dataloader'
        )
    options = {}
    if loader.num_workers > 0:
        options = dict(
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
            multiprocessing_context=loader.multiprocessing_context,
            timeout=loader.timeout,
        )
    return DataLoader(
        SeededDataset(loader.dataset),
        batch_sampler=SeededBatchSampler(
            loader.batch_sampler, seed=seed, rank=get_rank(), endless=endless
        ),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        # Starting workers draws a number; taken from the process's own generator it would shift
        # drop-path.
        generator=torch.Generator(),
        **options,
    )
