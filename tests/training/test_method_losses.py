"""Losses of tuning methods stand beside a model's own, whatever the model and the wrapper."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from tests.training.toys import LossRecorder, NoisyPoints, build_runner
from tests.tuning.toys import VIT, build
from vitadapter_dense.checkpoints.checked_loading import read_checkpoint
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.loading_runner import LoadingRunner
from vitadapter_dense.training.method_losses import MethodLossesHook

POOL = dict(type='PromptPool', size=4, length=3, top_k=2, query='mean')
POOLED = dict(
    type='PooledPromptGenerator',
    pool=dict(size=4, length=1, top_k=2, query='mean'),
    generator=dict(type='VAEPromptGenerator', length=3, width=4, latent=4),
)
NAMES = {'loss_prompt_keys', 'loss_prompt_reconstruction', 'loss_prompt_divergence'}


class Model(BaseModel):
    """A plain ViT with a pool, and a loss of its own."""

    def __init__(self, tuning: dict[str, Any], **options: Any) -> None:
        super().__init__()
        self.backbone = build('vit', tuning, **options)

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss'):
        images = inputs[:, :3, None, None] * torch.linspace(-1, 1, 32)
        scores = self.backbone(images.expand(-1, 3, 32, 32))[-1].mean((1, 2, 3))
        return dict(loss=(scores - label).square().mean()) if mode == 'loss' else [dict()]


class Fixed(NoisyPoints):
    """Samples without noise."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return dict(inputs=torch.arange(6.0) - index, label=torch.tensor(float(index)))


class Names(LossRecorder):
    """Keeps what the step logs."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.logged = {name: value.item() for name, value in outputs.items()}
        super().after_train_iter(runner, batch_idx, data_batch, outputs)


def collecting(model: nn.Module) -> nn.Module:
    class Runner:
        bare_model = LoadingRunner.bare_model

    runner = Runner()
    runner.model = model
    MethodLossesHook().before_train(runner)
    return model


def test_a_run_logs_sums_accumulates_and_recomputes(tmp_path):
    weights = []
    for name, accumulated, batch in (('whole', 1, 4), ('parts', 2, 2)):
        recorder = Names()
        runner = build_runner(
            tmp_path / name,
            model=dict(type=Model, tuning=POOL, with_cp=name == 'parts'),
            by_epoch=False,
            length=2 * accumulated,
            recorder=recorder,
            train_dataloader=dict(
                batch_size=batch,
                dataset=Fixed(),
                sampler=dict(type='InfiniteSampler', shuffle=False),
            ),
            optim_wrapper=dict(
                accumulative_counts=accumulated,
                optimizer=dict(type='SGD', lr=5.0),
                clip_grad=None,
            ),
            checkpoint=dict(save_last=True),
            param_scheduler=None,
        )
        start = runner.model.backbone.tuning.choice.keys.own.detach().clone()
        runner.train()
        logged = recorder.logged
        sums = logged['loss_own'] + logged['loss_prompt_keys']
        assert math.isclose(logged['loss'], sums, rel_tol=1e-5)
        assert -0.2 <= logged['loss_prompt_keys'] < 0
        assert not runner.model.backbone.tuning.losses()  # the step took them
        keys = runner.model.backbone.tuning.choice.keys.own.detach()
        assert (keys != start).any()
        weights.append(keys)
        assert not runner.model._forward_hooks
        saved = read_checkpoint(tmp_path / name / f'iter_{2 * accumulated}.pth')
        assert torch.equal(saved['state_dict']['backbone.tuning.choice.keys.own'], keys)
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('unused', [False, True])
def test_the_reducer_of_several_processes_finds_them(unused, tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path / "store"}', rank=0, world_size=1
    )
    try:
        data = dict(inputs=torch.randn(3, 6), label=torch.ones(3))
        gradients = []
        for wrap in (False, True):
            model = Model(POOLED).train()
            if wrap:
                model = MMDistributedDataParallel(
                    model, broadcast_buffers=False, find_unused_parameters=unused
                )
            collecting(model)
            for _ in range(2):  # the second pass raises where the reducer waits for the first
                model.zero_grad()
                torch.manual_seed(1)
                losses = model(**data, mode='loss')
                assert losses.keys() == NAMES | {'loss_own'}
                sum(losses.values()).backward()
            gradients.append([p.grad for p in model.parameters() if p.requires_grad])
        for alone, reduced in zip(*gradients, strict=True):
            torch.testing.assert_close(alone, reduced)
    finally:
        torch.distributed.destroy_process_group()


def test_names_must_be_new_and_images_must_be_there(tmp_path):
    model = collecting(Model(POOL).train())
    model.backbone.tuning.losses = lambda: dict(loss=torch.zeros(()))
    with pytest.raises(ValueError, match=r"adds 'loss' to the losses of Model, which has \['loss'"):
        model(torch.randn(2, 6), torch.ones(2))
    tuning = dict(POOL, size=11, start='images')
    runner = build_runner(tmp_path, model=dict(type=Model, tuning=tuning), length=1)
    with pytest.raises(SettingsError, match=r'size=11\).*data has 10: set size=10 or less'):
        runner.train()


def backbone(scope: str) -> dict[str, Any]:
    plain = dict(type='PlainViT', encoder=VIT, out_indices=[3])
    if scope == 'mmpretrain':
        return dict(type='TokenReadOut', encoder=VIT, tuning=POOLED)
    return dict(type='TunedBackbone', backbone=plain, tuning=POOLED)


HEADS = dict(
    mmdet=dict(
        type='FCOS',
        neck=None,
        bbox_head=dict(
            type='FCOSHead', num_classes=2, in_channels=32, feat_channels=8, stacked_convs=1,
            strides=[16], regress_ranges=((-1, 1e8),), norm_cfg=None,
        ),
    ),
    mmseg=dict(
        type='EncoderDecoder',
        decode_head=dict(
            type='FCNHead', num_classes=2, in_channels=32, channels=8, num_convs=1, in_index=0
        ),
    ),
    mmpretrain=dict(
        type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=2, in_channels=32)
    ),
)  # fmt: skip


def sample_of(scope: str) -> Any:
    if scope == 'mmdet':
        from mmdet.structures import DetDataSample

        sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
        boxes = torch.tensor([[4.0, 4.0, 40.0, 40.0]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1]))
    elif scope == 'mmseg':
        from mmseg.structures import SegDataSample

        sample = SegDataSample(metainfo=dict(img_shape=(64, 64)))
        sample.gt_sem_seg = PixelData(data=torch.ones(1, 64, 64, dtype=torch.long))
    else:
        from mmpretrain.structures import DataSample

        sample = DataSample().set_gt_label(1)
    return sample


@pytest.mark.slow  # imports three toolboxes
@pytest.mark.parametrize('scope', HEADS)
def test_detectors_segmentors_and_classifiers_return_them(scope):
    module = pytest.importorskip(f'{scope}.models', reason=f'needs {scope}')
    assert module
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(dict(HEADS[scope], backbone=backbone(scope)))
    collecting(model.train())
    images, samples = torch.randn(2, 3, 64, 64), [sample_of(scope), sample_of(scope)]
    losses = model(images, samples, mode='loss')
    assert losses.keys() > NAMES
    total, logged = model.parse_losses(losses)
    assert logged.keys() > NAMES
    own = {name: value for name, value in logged.items() if name not in {'loss', *NAMES}}
    parts = sum(value.item() for name, value in own.items() if 'loss' in name)
    added = sum(float(logged[name]) for name in NAMES)
    assert math.isclose(float(total.detach()), parts + added, rel_tol=1e-5)
    with torch.no_grad():
        model.eval()(images, mode='tensor')
    assert not model.backbone.tuning.losses()
