"""Script of `test_distributed_cpu.py`, run in every process: trains, evaluates, resumes, stops."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from tests.training.toys import LossRecorder, NoisyPoints, TinyModel, build_runner, evaluation
from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.reports import DumpPredictions
from vitadapter_dense.training.distributed import closed_in_order
from vitadapter_dense.training.finite import NotFiniteError
from vitadapter_dense.training.seeded_data import SeededBatchSampler


class NormModel(TinyModel):
    """A toy with batch norm, which the config asks to synchronise."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.SyncBatchNorm(8))


class LoneBreakingModel(TinyModel):
    """A toy whose loss is infinite, with gradients that are not, in the last process alone."""

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss'):
        outputs = super().forward(inputs, label, mode)
        if mode == 'loss' and os.environ['RANK'] == '1':
            outputs['loss'] = outputs['loss'] + math.inf
        return outputs


class AdapterModel(TinyModel):
    """A small ViT-Adapter; the loss asks something else of every level."""

    def __init__(self) -> None:
        super().__init__()
        encoder = dict(
            type='TimmViT',
            model_name='vit_tiny_patch16_224',
            **dict(img_size=64, embed_dim=24, depth=4, num_heads=2),
        )
        self.backbone = ViTAdapter(
            encoder, conv_inplane=8, deform_num_heads=2, injector_init=0.1, drop_path_rate=0.0
        )
        self.head = nn.Linear(24, 1)

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss') -> dict[str, Tensor]:
        pooled = sum(i * level.mean((2, 3)) for i, level in enumerate(self.backbone(inputs), 1))
        return dict(loss=(self.head(pooled).squeeze(-1) - label).square().mean())


class NoisyImages(NoisyPoints):
    """Images that each process draws otherwise."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        point = super().__getitem__(index)
        return dict(point, inputs=point['inputs'][:3, None, None] + torch.rand(3, 32, 32))


class PoolModel(TinyModel):
    """A small ViT with a pool that starts as images, and a generator, trained by their losses."""

    def __init__(self) -> None:
        super().__init__()
        encoder = dict(
            type='TimmViT',
            model_name='vit_tiny_patch16_224',
            **dict(img_size=32, embed_dim=24, depth=1, num_heads=2),
        )
        tuning = dict(
            type='PooledPromptGenerator',
            pool=dict(size=3, length=1, top_k=1, query='mean', start='images'),
            generator=dict(type='VAEPromptGenerator', length=1, width=2, latent=2),
        )
        backbone = dict(type='PlainViT', encoder=encoder, out_indices=[0])
        self.backbone = MODELS.build(dict(type='TunedBackbone', backbone=backbone, tuning=tuning))
        del self.head, self.dropout

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss') -> dict[str, Tensor]:
        pooled = self.backbone(inputs)[-1].mean((1, 2, 3))
        return dict(loss=(pooled - label).square().mean())


def gradients(model: nn.Module, inputs: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Gradients of the loss by parameter name, without the wrapper's prefix."""
    model.eval()  # batch norm over the running statistics: the samples are independent
    model.zero_grad()
    model(inputs, label)['loss'].backward()
    return {n.removeprefix('module.'): p.grad.clone() for n, p in model.named_parameters()}


def main(folder: Path) -> None:
    """Writes what the test compares to `folder`."""
    rank = int(os.environ['RANK'])
    options = dict(
        length=3,
        launcher='pytorch',
        cfg=dict(sync_bn='torch'),
        checkpoint=dict(by_epoch=False, interval=2),
        env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=300)),
    )

    def train(
        name: str, *, model: type = NormModel, stop_before: int | None = None, **more
    ) -> tuple[dict, dict]:
        recorder = LossRecorder(stop_before)
        runner = build_runner(
            folder / name,
            model=dict(type=model),
            recorder=recorder,
            **{**options, **more},
        )
        runner._randomness_cfg.update(diff_rank_seed=True)
        runner.set_randomness(**runner._randomness_cfg)
        try:
            runner.train()
        except InterruptedError:
            assert stop_before is not None
        except NotFiniteError as error:
            recorder.losses['error'] = str(error)
        return recorder.losses, runner.model.module.state_dict()

    losses, weights = train('whole', **evaluation([0.1, 0.2, 0.3]))
    train('cut', stop_before=5)
    resumed_losses, resumed_weights = train('cut', resume=True)

    dump = DumpPredictions(str(folder / 'predictions.pkl'))
    for index in (rank, (rank + 2) % 3):  # the second process begins again at the first
        dump.process({}, [dict(index=index)])
    dump.evaluate(size=3)
    hook = dict(type='FiniteLossHook', max_steps=2)
    stopped, _ = train('broken', model=LoneBreakingModel, hooks=[hook])

    pooled = dict(model=PoolModel, cfg={}, train_dataloader=dict(dataset=NoisyImages()))
    _, pool_weights = train('pool', **pooled)
    pool_sums = [float(tensor.double().sum()) for tensor in pool_weights.values()]

    # Grouped by shape and without what is left over, each process has its own number of batches.
    batches = BatchSampler(range(6 + 2 * rank), batch_size=2, drop_last=True)
    batches = SeededBatchSampler(batches, seed=0, rank=rank, endless=False)

    begun = dict(optim_wrapper=dict(accumulative_counts=3))  # a checkpoint after 4 iterations
    _, begun_weights = train('begun_whole', **begun)
    train('begun', stop_before=5, **begun)
    _, finished_weights = train('begun', resume=True, **begun)

    runner = build_runner(
        folder / 'gradients', launcher='pytorch', model=dict(type=AdapterModel), seed=0
    )
    inputs, label = torch.randn(6, 3, 64, 96), torch.arange(6.0)
    torch.distributed.broadcast(inputs, 0)
    own = slice(3 * rank, 3 * rank + 3)
    shared = gradients(runner.model, inputs[own], label[own])
    single = gradients(runner.model.module, inputs, label)
    (folder / f'rank_{rank}.json').write_text(
        json.dumps(
            dict(
                losses=losses,
                resumed_losses=resumed_losses,
                weights_equal=all(
                    torch.equal(tensor, resumed_weights[name])
                    for name, tensor in weights.items()
                    # Batch norm's statistics are each process's own; the first one's are saved.
                    if rank == 0 or not name.startswith('backbone.1.')
                ),
                begun_error=max(
                    float((finished_weights[name] - tensor).abs().max())
                    for name, tensor in begun_weights.items()
                    if not name.startswith('backbone.1.')
                ),
                weights_sum=float(weights['head.weight'].sum()),
                gradient_error=max(float((shared[n] - single[n]).abs().max()) for n in single),
                gradient_size=max(float(tensor.abs().max()) for tensor in single.values()),
                pool_sums=pool_sums,
                stopped=stopped,
                batches=[len(list(batches)), len(batches)],
                backend=torch.distributed.get_backend(),
            )
        )
    )


if __name__ == '__main__':
    with closed_in_order():
        main(Path(sys.argv[1]))
