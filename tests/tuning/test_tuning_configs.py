"""The configurations of the tuning methods: all there, short, and each with its method."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

ROOT = Path(__file__).resolve().parents[2] / 'configs'
R50 = dict(
    full='FullTuning',
    head_only='HeadOnly',
    partial1='PartialTuning',
    partial2='PartialTuning',
    bias='BiasTuning',
    side='SideTuning',
    adapter='Adapter',
    pro_tuning='ProTuning',
)
SETR = dict(full='FullTuning', head_only='HeadOnly', bias='BiasTuning')
SETR |= dict(vpt_deep='VisualPromptTuning', vpt_deep_bias='VisualPromptTuning')
ADAPTER = dict(lora='LoRA', vpt='VisualPromptTuning', pro_tuning='ProTuning', frozen='HeadOnly')
FILES = {
    **{f'coco/{f}_r50_{t}': m for f in ('cascade_mask_rcnn', 'htc') for t, m in R50.items()},
    **{f'coco/mask_rcnn_r50_{t}': R50[t] for t in ('full', 'pro_tuning')},
    **{f'ade20k/{f}_r50_{t}': m for f in ('fcn', 'upernet') for t, m in R50.items()},
    **{f'coco/mask_rcnn_vitadapter_b_{t}': m for t, m in ADAPTER.items()},
    **{f'coco/dino_vitadapter_b_dinov{n}_lora': 'LoRA' for n in (2, 3)},
    **{f'ade20k/setr_pup_vit_l_{t}': m for t, m in SETR.items()},
}


def build(name: str) -> torch.nn.Module:
    cfg = Config.fromfile(ROOT / f'{name}.py')
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def trainable(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize('name', FILES)
def test_names_its_method_in_a_few_lines(name):
    cfg = Config.fromfile(ROOT / f'{name}.py')
    tuning = cfg.model.backbone.tuning
    first = tuning[0] if isinstance(tuning, list) else tuning
    assert first.type == FILES[name]
    assert cfg.default_hooks.checkpoint.type == 'TunedCheckpointHook'
    if not name.endswith('_full'):
        text = (ROOT / f'{name}.py').read_text().split('"""')[2]
        lines = [line for line in text.splitlines() if line.strip() and line[0] != '#']
        assert len(lines) <= 7


def test_parameters_are_as_the_pro_tuning_paper_compares_them():
    """Its claims: 25 % fewer than full tuning (COCO), 15 % fewer than Partial-2 (ADE20K)."""
    full = trainable(build('coco/cascade_mask_rcnn_r50_full'))
    prompts = trainable(build('coco/cascade_mask_rcnn_r50_pro_tuning'))
    assert prompts / full == pytest.approx(0.75, abs=0.015)
    partial = trainable(build('ade20k/fcn_r50_partial2'))
    assert trainable(build('ade20k/fcn_r50_pro_tuning')) / partial == pytest.approx(0.85, abs=0.005)


def test_setr_has_the_published_number_of_parameters():
    """VPT's table 3: 318.31 M whole; what the methods add to the head there is 0.28 M of biases."""
    whole, head = build('ade20k/setr_pup_vit_l_full'), build('ade20k/setr_pup_vit_l_head_only')
    biases = trainable(build('ade20k/setr_pup_vit_l_bias')) - trainable(head)
    prompts = trainable(build('ade20k/setr_pup_vit_l_vpt_deep')) - trainable(head)
    assert trainable(whole) / 1e6 == pytest.approx(318.31, rel=0.02)
    assert biases / 1e6 == pytest.approx(13.46 - 13.18, abs=0.01)
    assert prompts == 24 * 10 * 1024


@pytest.mark.slow
@pytest.mark.parametrize('name', FILES)
def test_builds_without_memory(name):
    model = build(name)
    real = {name for name, parameter in model.named_parameters() if not parameter.is_meta}
    assert real <= {'level_embed'}, 'of DETRs: MMDetection makes it by torch.Tensor(...)'
    assert trainable(model) > 0


@pytest.mark.slow
def test_every_part_of_a_side_network_is_read_by_a_head():
    """FCN's heads read two of the four maps; the others' parts would have no gradient."""
    cfg = Config.fromfile(ROOT / 'ade20k/fcn_r50_side.py')
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.backbone.init_cfg = None
    model = MODELS.build(cfg.model).train()
    maps = model.backbone(torch.randn(2, 3, 64, 64))
    (model.decode_head(maps).sum() + model.auxiliary_head(maps).sum()).backward()
    assert [
        name for name, p in model.named_parameters() if p.requires_grad and p.grad is None
    ] == []
