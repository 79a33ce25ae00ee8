"""Parameter counts that are known, errors, and what a tuned backbone does with its options."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.registry import MODELS
from torch import nn

from tests.tuning.toys import BACKBONES, VIT, build, images, loss_of
from vitadapter_dense import TunedBackbone

SWIN_B = dict(type='TimmStages', model_name='swin_base_patch4_window7_224')
SWIN_L = dict(type='TimmStages', model_name='swin_large_patch4_window7_224')
VIT_B = dict(
    type='PlainViT', encoder=dict(type='TimmViT', model_name='vit_base_patch16_224.augreg_in21k')
)
R101 = dict(type='mmdet.ResNet', depth=101)
# The counts of Mona's and VPT's code; R101 is what the reconstruction of Pro-Tuning is fitted to.
COUNTS = [
    (SWIN_L, dict(type='Mona'), 5_267_712),
    (SWIN_B, dict(type='Mona'), 3_667_456),
    (SWIN_B, dict(type='LoRA', rank=64), 3_080_192),
    (SWIN_B, dict(type='Adapter', hidden=64), 3_107_328),
    (SWIN_B, dict(type='AdaptFormer', hidden=64), 1_553_664),
    (VIT_B, dict(type='VisualPromptTuning', num_tokens=50), 38_400),
    (VIT_B, dict(type='VisualPromptTuning', num_tokens=50, deep=True), 460_800),
    (R101, dict(type='ProTuning'), 3_616_240),
]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(('backbone', 'method', 'expected'), COUNTS)
def test_published_parameter_counts(backbone, method, expected):
    import mmdet.models  # noqa: F401

    with torch.device('meta'):
        model = MODELS.build(dict(type='TunedBackbone', backbone=backbone, tuning=method))
    assert count(model) == expected


def test_partial_trains_the_last_residual_blocks():
    model = build('resnet', dict(type='PartialTuning', num_blocks=4))
    assert model.tuning.sites == ['layer3.5', 'layer4.0', 'layer4.1', 'layer4.2']
    trains = {name.rsplit('.', 2)[0] for name, p in model.named_parameters() if p.requires_grad}
    assert all(name.startswith(('layer3.5', 'layer4')) for name in trains)


def test_called_by_its_name_it_is_a_backbone_of_both_classes():
    plain = MODELS.build(BACKBONES['resnet'])
    kind = type(plain)
    tuned = TunedBackbone(plain, dict(type='BiasTuning'))
    assert tuned is plain
    for one in (tuned, copy.deepcopy(tuned)):
        assert isinstance(one, TunedBackbone)
        assert isinstance(one, kind)
    assert not isinstance(MODELS.build(BACKBONES['resnet']), TunedBackbone)
    with pytest.raises(TypeError, match="'tuning'"):
        TunedBackbone(kind)


def test_frozen_stages_and_frozen_have_no_effect():
    resnet = build('resnet', dict(type='FullTuning'), frozen_stages=2)
    assert all(p.requires_grad for p in resnet.train().parameters())
    tuning, frozen = dict(type='BiasTuning'), dict(VIT, frozen=True)
    plain = dict(type='PlainViT', encoder=frozen)
    adapter = dict(BACKBONES['vitadapter'], encoder=frozen)
    for cfg in (
        dict(type='TunedBackbone', backbone=plain, tuning=tuning),
        dict(adapter, tuning=tuning),
        dict(type='TunedBackbone', backbone=adapter, tuning=tuning),
    ):
        model = MODELS.build(cfg).train()
        trains = [n for n, p in model.encoder.named_parameters() if p.requires_grad]
        assert sorted(trains) == sorted(model.tuning.sites)
        assert model.encoder.blocks[3].drop_path1.training


def test_norm_eval_is_of_the_backbone_alone():
    """MMDetection's ResNet puts every batch norm below it in eval mode, the prompt blocks' too."""
    model = build('resnet', dict(type='ProTuning'), norm_eval=True).train()
    own = model.tuning.prompt_blocks['0'].norm1
    before = own.running_mean.clone(), model.bn1.running_mean.clone()
    model(images())
    assert not torch.equal(own.running_mean, before[0])
    assert torch.equal(model.bn1.running_mean, before[1])
    whole = build('resnet', dict(type='FullTuning'), norm_eval=True).train()
    assert not whole.bn1.training


def test_initialising_leaves_the_method_alone():
    """ResNet's init_cfg names every Conv2d below it, Swin's own code every Linear."""
    for backbone, method in (('resnet', 'Adapter'), ('resnet', 'LoRA'), ('swin', 'LoRA')):
        model = build(backbone, dict(type=method))
        before = {name: p.clone() for name, p in model.tuning.named_parameters()}
        model.init_weights()
        for name, parameter in model.tuning.named_parameters():
            assert torch.equal(parameter, before[name]), name
        assert 'tuning' in dict(model.named_children())


def test_prompts_work_at_any_size_and_keep_samples_apart():
    """The authors' prompted Swin mixes the samples of a batch; ours must not."""
    for backbone in ('swin', 'timm_swin', 'vit'):
        model = build(backbone, dict(type='VisualPromptTuning', num_tokens=3)).eval()
        with torch.no_grad():
            together = model(images(2))
            alone = model(images(2)[1:])
            assert model(torch.randn(1, 3, 72, 56))[0].isfinite().all()
        for a, b in zip(together, alone):
            torch.testing.assert_close(a[1:], b, rtol=1e-4, atol=1e-5)


def test_stages_told_by_name():
    tuning = dict(type='ProTuning', sites=['layer1', 'layer3'])
    model = build('resnet', tuning)
    by_structure = build('resnet', dict(type='ProTuning', stages=[0, 2]))
    assert count(model) == count(by_structure)
    loss_of(model.train()).backward()
    assert all(p.grad is not None for p in model.tuning.parameters())


def test_layouts_of_two_sizes_before_one_backward_pass():
    model = build('vit', dict(type='Mona', hidden=4), with_cp=True).train()
    wide, high = torch.randn(1, 3, 64, 128), torch.randn(1, 3, 128, 64)
    (model(wide)[0].mean() + model(high)[0].mean()).backward()
    twin = build('vit', dict(type='Mona', hidden=4)).train()
    for each in (model, twin):
        each.tuning.eval()  # no dropout
        each.zero_grad()
        (each(wide)[0].square().mean() + each(high)[0].square().mean()).backward()
    for one, other in zip(model.tuning.parameters(), twin.tuning.parameters()):
        torch.testing.assert_close(one.grad, other.grad)


LORA, VPT = dict(type='LoRA'), dict(type='VisualPromptTuning')
ERRORS = [
    ('resnet', dict(type='LowRank'), ValueError, r"'LowRank'.*choose of \['AdaptFormer', .*'SSF'"),
    ('resnet', dict(type='mmdet.ResNet'), ValueError, "'mmdet.ResNet'.*no such method"),
    ('resnet', dict(LORA, rang=4), ValueError, r"LoRA has no option 'rang'.*'rank', 'alpha'"),
    ('resnet', dict(LORA, targets=['qkv']), ValueError, r"end with \['0', 'conv1'"),
    ('resnet', dict(LORA, rank=0), ValueError, 'rank=0'),
    ('resnet', VPT, ValueError, 'inside transformer blocks, and ResNet has none'),
    ('resnet', dict(type='ProTuning', sites=['stem']), ValueError, "no module 'stem'.*layer1"),
    ('resnet', dict(type='ProTuning', stages=[4]), ValueError, r'stages=\[4\].*layer1'),
    ('resnet', dict(type='ProTuning', groups=3), ValueError, 'groups=3'),
    ('resnet', dict(type='ProTuning', blend='mix'), ValueError, "blend='mix'"),
    ('resnet', dict(type='PartialTuning', num_blocks=17), ValueError, 'with 16 blocks'),
    ('resnet', [dict(type='FullTuning'), LORA], ValueError, 'FullTuning excludes'),
    ('resnet', [LORA, LORA], ValueError, 'LoRA stands twice'),
    ('resnet', [], ValueError, 'names no method'),
    ('swin', dict(VPT, location='prepend_pixel', deep=True), ValueError, 'deep=True'),
    ('swin', dict(VPT, location='append'), ValueError, "location='append'"),
]


@pytest.mark.parametrize(('backbone', 'tuning', 'error', 'match'), ERRORS)
def test_bad_input_is_told(backbone, tuning, error, match):
    with pytest.raises(error, match=match):
        build(backbone, tuning)


def test_a_method_may_be_inherited_from_another_package():
    """MMEngine marks such parts of a configuration with their scope."""
    assert build('resnet', dict(LORA, _scope_='mmengine')).tuning.sites


def test_a_backbone_is_tuned_once():
    once = dict(type='TunedBackbone', backbone=BACKBONES['convnext'], tuning=LORA)
    with pytest.raises(ValueError, match='tuned already'):
        MODELS.build(dict(type='TunedBackbone', backbone=once, tuning=LORA))


def test_nothing_is_merged_where_one_method_cannot_be():
    model = build('vit', [dict(LORA, rank=2), dict(type='Adapter', hidden=2)]).eval()
    with torch.no_grad():
        for parameter in model.tuning.parameters():
            parameter.normal_(std=0.1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(TypeError, match='Adapter cannot be merged'):
        model.tuning.merge()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
