"""PMT and EoMT: what was published, and schedules that fit the models that they are for.

PMT, image/configs/** and image/training/lightning_module.py; EoMT, configs/dinov3/** and
training/lightning_module.py.
"""

from __future__ import annotations

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, init_default_scope

SIZES = {'s': (12, 3), 'b': (12, 3), 'l': (24, 4)}  # blocks, and those that take queries
TASKS = ('panoptic', 'instance')
PMT = [f'ade20k/pmt_{size}_dinov3_frozen' for size in SIZES]
PMT += [f'coco/pmt_{size}_dinov3_frozen_{task}' for size in SIZES for task in TASKS]
EOMT = [f'ade20k/eomt_{size}_dinov3' for size in SIZES]
EOMT += [f'coco/eomt_{size}_dinov3_{task}' for size in SIZES for task in TASKS]
SHAPES = [
    f'shapes/{kind}_xs{task}' for kind in ('pmt', 'eomt') for task in ('', '_instance', '_panoptic')
]


def head_of(model):
    return model.get('decode_head') or model.panoptic_head


@pytest.mark.parametrize('name', PMT + EOMT + SHAPES)
def test_all_masks_are_open_before_the_end(name, read_config):
    cfg = read_config(f'{name}.py')
    (hook,) = (HOOKS.build(hook) for hook in cfg.custom_hooks)
    assert len(hook.start) == head_of(cfg.model).decoder.num_blocks
    assert list(hook.end) == sorted(hook.end)
    assert hook.end[-1] <= 0.9 * cfg.train_cfg.max_iters


@pytest.mark.parametrize('name', PMT)
def test_pmt_as_published(name, read_config):
    cfg = read_config(f'{name}.py')
    depth, head = SIZES[name.split('_')[1]][0], head_of(cfg.model)
    assert cfg.model.backbone.encoder.frozen
    assert cfg.model.backbone.out_indices == [depth * k // 4 - 1 for k in (1, 2, 3, 4)]
    assert (head.decoder.num_blocks, head.decoder.mlp_ratio) == (6, 1.0)
    assert head.num_queries == (100 if name.startswith('ade20k') else 200)
    assert (cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay) == (
        2e-4,
        0.05,
    )
    warm_up, fall = cfg.param_scheduler
    assert (warm_up.end, fall.begin, fall.end) == (6000, 6000, cfg.train_cfg.max_iters)
    images, epochs = (20210, 16) if name.startswith('ade20k') else (118287, 12)
    assert cfg.train_cfg.max_iters == images // 16 * epochs


# Sizes S and B, and both tasks on COCO, share a schedule.
@pytest.mark.parametrize('name', [n for n in EOMT if '_b_' not in n and 'instance' not in n])
def test_eomt_trains_its_layers_as_published(name, read_config, build_model):
    cfg = read_config(f'{name}.py')
    init_default_scope(cfg.default_scope)
    model = build_model(f'{name}.py')
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))
    rates = {
        name: group['lr']
        for group in wrapper.optimizer.param_groups
        for name in group['param_names']
    }
    depth, opened = SIZES[name.split('_')[1]]
    found = [rates[f'backbone.encoder.blocks.{i}.mlp.fc1.weight'] for i in range(depth)]
    below = range(depth - opened)
    if name.startswith('ade20k'):
        expected = [2e-5 for _ in below]
    else:
        expected = [2e-4 * 0.8 ** (depth - 1 - i) for i in below]
    assert found == pytest.approx([*expected, *[2e-4] * opened])
    assert {rate for key, rate in rates.items() if not key.startswith('backbone')} == {2e-4}
    images = 20210 if name.startswith('ade20k') else 118287
    epochs = cfg.train_cfg.max_iters / (images // 16)
    assert epochs == (16 if name.startswith('ade20k') else 12 if depth == 24 else 24)
