"""A dataset with random augmentation, a model with dropout, and a runner over them, all tiny."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.data import Dataset

from vitadapter_dense.training import DenseRunner


class NoisyPoints(Dataset):
    """Samples that depend on their index and on all three host generators."""

    metainfo = dict(classes=('a', 'b'), palette=np.arange(6).reshape(2, 3))

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.size

    def get_data_info(self, index: int) -> dict[str, int]:
        """What `AspectRatioBatchSampler` asks for."""
        return dict(width=1 + index % 3, height=2)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.loaded.append(index)
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
        inputs = torch.arange(6.0) / 6 + 0.1 * index + 0.05 * noise
        return dict(inputs=inputs, label=torch.tensor(float(index % 2)))


class TinyModel(BaseModel):
    """Two linear layers with dropout in between, which draws from the process's generator."""

    def __init__(self, width: int = 8, dropout: float = 0.3) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, width), nn.LayerNorm(width))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 1)

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss'):
        scores = self.head(self.dropout(self.backbone(inputs)).relu()).squeeze(-1)
        if mode == 'loss':
            return dict(loss=(scores - label).square().mean())
        return [dict(score=score) for score in scores]


class LossRecorder(Hook):
    """Keeps every loss, and can stop the run as a crash would."""

    def __init__(self, stop_before: int | None = None) -> None:
        self.losses: dict[int, float] = {}
        self.stop_before = stop_before

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.stop_before:
            raise InterruptedError(f'stopped before iteration {runner.iter}')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses[runner.iter] = outputs['loss'].item()


class ScoreMetric:
    """Stands for an evaluator: the metric falls or rises as told, validation draws numbers."""

    def __init__(self, values: list[float]) -> None:
        self.values = list(values)
        self.dataset_meta = None

    def process(self, data_samples, data_batch=None) -> None:
        torch.rand(3), np.random.rand(), random.random()

    def evaluate(self, size: int) -> dict[str, float]:
        return dict(score=self.values.pop(0))


def build_runner(
    work_dir: Path,
    *,
    model: nn.Module | dict | None = None,
    by_epoch: bool = True,
    length: int = 3,
    workers: int = 0,
    checkpoint: dict | None = None,
    recorder: LossRecorder | None = None,
    hooks: Sequence[dict] = (),
    seed: int | None = 7,
    **options,
) -> DenseRunner:
    """A runner over the toys.

    Args:
        work_dir: folder of the run.
        model: the model; a `TinyModel`, made after seeding, if None.
        by_epoch: train by epochs of 4 iterations, or by iterations.
        length: number of epochs or iterations.
        workers: number of data workers.
        checkpoint: arguments of `AtomicCheckpointHook`.
        recorder: hook that keeps the losses.
        hooks: further hooks.
        seed: seed of the run.
        **options: further arguments of `DenseRunner`; `train_dataloader` and `optim_wrapper` are
            merged into the defaults.
    """
    loader = dict(
        batch_size=3,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=NoisyPoints(),
        sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    loader.update(options.pop('train_dataloader', {}))
    optim_wrapper = dict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01), clip_grad=dict(max_norm=1.0)
    )
    optim_wrapper.update(options.pop('optim_wrapper', {}))
    train_cfg = (
        dict(by_epoch=True, max_epochs=length)
        if by_epoch
        else dict(type='IterBasedTrainLoop', max_iters=length, val_interval=4)
    )
    return DenseRunner(
        model=dict(type=TinyModel) if model is None else model,
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=train_cfg,
        optim_wrapper=optim_wrapper,
        param_scheduler=options.pop(
            'param_scheduler', [dict(type='StepLR', step_size=1, gamma=0.9, by_epoch=by_epoch)]
        ),
        default_hooks=dict(
            checkpoint=dict(
                **{
                    'type': 'AtomicCheckpointHook',
                    'by_epoch': by_epoch,
                    'interval': 1,
                    'max_keep_ckpts': 2,
                    **(checkpoint or {}),
                },
            ),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[*hooks, *([] if recorder is None else [recorder])],
        randomness=dict(seed=seed),
        experiment_name=f'{Path(work_dir).name}_{random.SystemRandom().random()}',
        log_level='WARNING',
        default_scope='mmengine',
        **options,
    )


def evaluation(values: list[float]) -> dict:
    """The arguments of a runner that evaluates, with the given results one after another."""
    from mmengine.evaluator import Evaluator

    class _Evaluator(Evaluator):
        def __init__(self) -> None:
            super().__init__([])
            self.score = ScoreMetric(values)

        def process(self, data_samples, data_batch=None) -> None:
            self.score.process(data_samples)

        def evaluate(self, size: int) -> dict[str, float]:
            return self.score.evaluate(size)

    return dict(
        val_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=NoisyPoints(4),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        val_cfg=dict(),
        val_evaluator=_Evaluator(),
    )
