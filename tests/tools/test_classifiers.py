"""Classifiers through the tools: from a folder a class to a trained model, a delta, predictions."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from tiny_detection import ROOT, run_tool
from torch import nn

from vitadapter_dense import VTAB_TASKS, Predictor
from vitadapter_dense.checkpoints.checked_loading import read_checkpoint
from vitadapter_dense.command_line.config import leave_out_idle_loops
from vitadapter_dense.command_line.environment import missing_pieces
from vitadapter_dense.inference.predictor import build_model, build_model_on_meta

needs_mmpretrain = pytest.mark.skipif(
    importlib.util.find_spec('mmpretrain') is None, reason='needs MMPretrain (classification)'
)
CONFIGS = sorted((ROOT / 'configs').glob('*/classifier_*.py'))
METHODS = dict(_full='FullTuning', _head_only='HeadOnly', _pro_tuning='ProTuning')
METHODS |= dict.fromkeys(('_vpt_deep', '_vpt_pad'), 'VisualPromptTuning')
GREYS = dict(dark=30, light=220, middle=120)

TUNED = """
_base_ = ['{config}']
custom_hooks = [dict(type='ClassCountsHook')]
model = dict(
    backbone=dict(
        source='prompts',
        encoder=dict(
            pretrained=False, frozen=True, img_size=32, embed_dim=32, depth=2, num_heads=2
        ),
        tuning=dict(type='VisualPromptTuning', num_tokens=2, deep=True),
    ),
    neck=dict(in_channels=32, num_layers=1),
    head=dict(
        in_channels=32, loss=dict(_delete_=True, type='LogitAdjustedLoss', num_classes=3)
    ),
)
small = dict(type='Resize', scale=(32, 32))
steps = [dict(type='LoadImageChecked'), small, dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=6,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type='ClassBalancedSampler'),
    dataset=dict(pipeline=steps),
)
val_dataloader = test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=steps)
)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
train_cfg = dict(max_epochs=40, val_interval=40)
param_scheduler = []
load_from = '{base}'
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook', interval=40, save_best=None))
"""


def trained(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def write_classes(folder: Path, count: int) -> None:
    """Images of three greys in a folder each: one of each is tiny, one has a single channel."""
    generator = np.random.default_rng(0)
    for name, grey in GREYS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            size = (3, 5) if number == 0 else (20, 24)
            image = np.clip(generator.normal(grey, 12, (*size, 3)), 0, 255).astype(np.uint8)
            image = image[..., 0] if number == 1 else image
            cv2.imwrite(str(folder / name / f'{number}.png'), image)


@needs_mmpretrain
@pytest.mark.slow
def test_from_folders_to_a_delta_that_predicts(tmp_path: Path) -> None:
    data, own = tmp_path / 'greys', tmp_path / 'own.py'
    write_classes(data, 8)
    task = ['--data', data, '--task', 'classification', '--out', own]
    status, printed = run_tool('dataset/new_config.py', *task, '--workers', 1)
    assert status == 0, printed
    assert 'a folder a class, 18 + 6 images' in printed
    assert len(own.read_text().splitlines()) <= 25
    config = tmp_path / 'tuned.py'
    config.write_text(TUNED.format(config=own, base=tmp_path / 'base.pth'))
    torch.manual_seed(0)  # the frozen encoder is a random one
    base = build_model(Config.fromfile(config))
    torch.save(dict(state_dict=base.state_dict()), tmp_path / 'base.pth')

    work = tmp_path / 'work'
    run_tool('train.py', config, '--work-dir', work, '--seed', 0)
    delta = work / 'tuned_epoch_40.pth'
    assert not any('encoder.blocks' in name for name in read_checkpoint(delta)['state_dict'])
    assert any(
        'head.loss_module.log_shares' in name for name in read_checkpoint(delta)['state_dict']
    )
    results = tmp_path / 'metrics.json'
    options = ['--show-dir', tmp_path / 'pictures', '--report', '--by-frequency', '--out', results]
    _, printed = run_tool('test.py', config, delta, '--work-dir', work, *options)
    metrics = json.loads(results.read_text())
    assert metrics['accuracy/top1'] > 60, printed
    assert metrics['accuracy/few'] == metrics['accuracy/balanced']  # 6 images of each
    assert 'accuracy/many' not in metrics
    assert len(list((tmp_path / 'pictures').rglob('*.png'))) == 6
    table = (work / 'report' / 'metrics_by_class.csv').read_text().splitlines()
    assert table[0].split(',') == ['class', 'accuracy', 'precision', 'images', 'training images']
    assert {line.split(',')[4] for line in table[1:]} == {'6'}

    found = Predictor(Config.fromfile(config), delta)(data / 'light' / '5.png')
    assert found.names == tuple(GREYS)
    assert found.names[found.labels[0]] == 'light'
    assert found.boxes is None
    assert found.label_map is None
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.sum() == pytest.approx(1, abs=1e-5)
    first = found.to_json()[0]
    assert first == dict(category_id=1, category_name='light', score=pytest.approx(found.scores[0]))
    assert found.plot().shape[0] > found.image.shape[0]
    _, printed = run_tool('analysis/count_params.py', config)
    assert 'delta: ' in printed
    assert 'VisualPromptTuning' in printed
    points = ['analysis/tsne.py', config, delta, '--out', tmp_path / 'points.png']
    if importlib.util.find_spec('sklearn') is None:
        with pytest.raises(SystemExit, match=r"Mend: pip install '\.\[analysis\]'"):
            run_tool(*points)
    else:
        _, printed = run_tool(*points)
        shares = [float(share) for share in re.findall(r'tuning: ([\d.]+)%', printed)]
        assert len(shares) == 2

        assert cv2.imread(str(tmp_path / 'points.png')).shape[1] > 1000
    drawn = tmp_path / 'drawn'
    run_tool('demo/image_demo.py', data / 'dark' / '0.png', config, delta, '--out-dir', drawn)
    assert (drawn / '0.png').is_file()


@needs_mmpretrain
@pytest.mark.slow
@pytest.mark.parametrize('file', CONFIGS, ids=lambda file: file.stem)
def test_every_config_of_a_classifier_is_built(file: Path) -> None:
    cfg = Config.fromfile(file)
    # those of one backbone differ in their method, and large stages take seconds to build
    if file.stem.endswith('_full') or not re.search('swin|convnext|regnet', file.stem):
        model = build_model_on_meta(cfg)
        assert model.head.fc.in_features == model.neck.in_channels == model.backbone.embed_dim
    if file.parent.name == 'continual':  # those names say what protects a sequence
        return
    kinds = [kind for end, kind in METHODS.items() if file.stem.endswith(end)]
    assert [cfg.model.backbone.get('tuning', {}).get('type')] == (kinds or [None])
    if kinds:
        assert cfg.default_hooks.checkpoint.type == 'TunedCheckpointHook'
        sgd = kinds[0] in ('HeadOnly', 'VisualPromptTuning')
        assert cfg.optim_wrapper.optimizer.type == ('SGD' if sgd else 'AdamW')
        assert 'betas' not in cfg.optim_wrapper.optimizer


@needs_mmpretrain
def test_parameters_are_those_that_others_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """VPT on DMLab of VTAB-1k: tuned_params and total_params in demo.ipynb of KMnP/vpt."""
    monkeypatch.setenv('IMAGE_SET', 'vtab1k')
    monkeypatch.setenv('VTAB_TASK', 'dmlab')
    cfg = Config.fromfile(ROOT / 'configs/classification/classifier_vit_b_in21k_vpt_deep.py')
    assert cfg.train_dataloader.dataset.data_root == 'data/vtab/dmlab/'
    model = build_model_on_meta(cfg)
    assert trained(model) == 926_214
    assert sum(p.numel() for p in model.parameters()) == 86_724_870


@needs_mmpretrain
@pytest.mark.slow
def test_pro_tuning_trains_as_much_as_its_paper_says() -> None:
    """ResNet-101: 42.75 M and 3.86 M, which fit a head of 120 classes."""
    for method, millions in dict(full=42.75, pro_tuning=3.86).items():
        cfg = Config.fromfile(ROOT / f'configs/classification/classifier_r101_{method}.py')
        cfg.model.head.num_classes = 120
        assert trained(build_model_on_meta(cfg)) / 1e6 == pytest.approx(millions, abs=0.005)


@needs_mmpretrain
@pytest.mark.slow
def test_sets_are_chosen_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = ROOT / 'configs/classification/classifier_r50_full.py'
    tasks = {}
    for base in sorted((ROOT / 'configs/_base_/datasets').glob('*.py')):
        if not (base.stem == 'vtab1k' or 'num_classes = ' in base.read_text()):
            continue
        monkeypatch.setenv('IMAGE_SET', base.stem)
        cfg = Config.fromfile(leaf)
        assert cfg.model.head.num_classes == cfg.num_classes
        tasks[base.stem] = cfg.num_classes
        if cfg.train_dataloader is None:  # of a schedule nothing is left but the test
            leave_out_idle_loops(cfg)
            unused = ('train_cfg', 'optim_wrapper', 'param_scheduler', 'val_cfg', 'val_evaluator')
            assert [cfg[name] for name in unused] == [None] * 5
            assert cfg.test_cfg.type == 'TestLoop'
    assert len(tasks) >= 13
    vtab = ROOT / 'configs/_base_/datasets/vtab1k.py'
    for task, (_, number) in VTAB_TASKS.items():
        monkeypatch.setenv('VTAB_TASK', task)
        cfg = Config.fromfile(vtab)
        assert cfg.num_classes == cfg.test_dataloader.dataset.num_classes == number
        assert cfg.test_dataloader.dataset.data_root == f'data/vtab/{task}/'
    monkeypatch.setenv('VTAB_TASK', 'dmlabs')
    with pytest.raises(ValueError, match=r'VTAB_TASK=dmlabs: there is no such task.*dmlab'):
        Config.fromfile(vtab)


ENCODER = dict(type='TimmViT', model_name='vit_tiny_patch16_224', img_size=64)
ENCODER |= dict(embed_dim=32, depth=4, num_heads=2)
SWIN = dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 2])
CONVNEXT = dict(depths=[1, 1, 2, 1], channels=[8, 16, 16, 32])


@needs_mmpretrain
@pytest.mark.slow
@pytest.mark.parametrize(
    ('backbone', 'widths', 'methods'),
    [
        (dict(type='ResNet', depth=18), 512, ['ProTuning', 'SSF', 'pad', 'below']),
        (dict(type='RegNet', arch='regnetx_400mf'), 384, ['PartialTuning', 'SideTuning']),
        (
            dict(type='SwinTransformer', arch=SWIN, img_size=128, window_size=4),
            128,
            ['deep', 'Mona', 'LoRA', 'pad'],
        ),
        # its norms stand before and behind the channels' axis, as their callers say
        (dict(type='ConvNeXt', arch=CONVNEXT), 32, ['SSF', 'BiasTuning', 'below']),
        (dict(type='ViTAdapter', encoder=ENCODER, deform_num_heads=2), 4 * (32,), ['HeadOnly']),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else None,
)
def test_classifiers_stand_on_other_backbones(backbone, widths, methods) -> None:
    """MMPretrain's own, and a ViT-Adapter of which all levels are read."""
    import mmpretrain.models  # noqa: F401  (registers)
    from mmpretrain.structures import DataSample

    prompts = dict(type='VisualPromptTuning', num_tokens=2)
    named = dict(deep=dict(prompts, deep=True))
    named |= {where: dict(prompts, location=where) for where in ('pad', 'below')}
    samples = [DataSample().set_gt_label(number % 3) for number in range(4)]
    for name in methods:
        torch.manual_seed(0)
        tuned = dict(tuning=named.get(name, dict(type=name)))
        part = dict(type='TunedBackbone', backbone=backbone, **tuned)
        part = dict(backbone, **tuned) if backbone['type'] == 'ViTAdapter' else part
        head = dict(type='LinearClsHead', num_classes=3, in_channels=int(np.sum(widths)))
        neck = dict(type='ReadOut', in_channels=widths)
        model = build_model(
            Config(
                dict(
                    model=dict(type='ImageClassifier', backbone=part, neck=neck, head=head),
                    default_scope='mmpretrain',
                )
            )
        )
        images = torch.randn(4, 3, 128, 128)
        model.train().loss(images, samples)['loss'].backward()
        idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == [], name
        assert model.eval().predict(images[:1])[0].pred_score.shape == (3,)


@needs_mmpretrain
def test_shallow_prompts_in_mmpretrains_swin_are_refused() -> None:
    import mmpretrain.models  # noqa: F401  (registers)

    backbone = dict(type='mmpretrain.SwinTransformer', arch=SWIN, img_size=128, window_size=4)
    tuning = dict(type='VisualPromptTuning')
    with pytest.raises(ValueError, match=r"MMPretrain's Swin.*deep=True"):
        MODELS.build(dict(type='TunedBackbone', backbone=backbone, tuning=tuning))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    (problem,) = missing_pieces(['mmpretrain'])
    assert 'pip install onedl-mmpretrain' in problem
    assert shlex.split(problem)
