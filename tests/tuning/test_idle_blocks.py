"""Blocks behind the last map of a backbone: not built, or refused where they would train."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from tests.tuning.toys import ALONE_ON, METHODS, VIT, images, loss_of
from vitadapter_dense.checkpoints.checked_loading import WeightsError, check_fit, compare

TUNED = dict(type='TunedBackbone')
SLOW = pytest.mark.slow
EARLY = {
    'PlainViT': dict(type='PlainViT', out_indices=[0, 1]),
    'SimplePyramid': dict(type='SimplePyramid', out_indices=[1]),
}


def early(kind, tuning=None, **options) -> nn.Module:
    torch.manual_seed(0)
    cfg = dict(EARLY[kind], encoder=dict(VIT, **options))
    return MODELS.build(cfg if tuning is None else dict(TUNED, backbone=cfg, tuning=tuning))


@pytest.mark.parametrize('kind', ['PlainViT', pytest.param('SimplePyramid', marks=SLOW)])
def test_every_method_trains_what_is_used(kind):
    of_convolutions = {name for name, kinds in ALONE_ON.items() if 'vit' not in kinds}
    for name in (None, *(name for name in METHODS if name not in of_convolutions)):
        model = early(kind, METHODS.get(name)).train()
        total = loss_of(model)
        if total.requires_grad:
            total.backward()
        idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not idle, (kind, name, idle)


@pytest.mark.parametrize('kind', EARLY)
def test_the_blocks_left_are_those_of_the_whole_model(kind):
    """Same outputs, drop path rates and layers for layer-wise decay."""
    whole = MODELS.build(dict(type='PlainViT', encoder=VIT)).eval()
    model = early(kind, window_sizes=[None, None, 2, 2]).eval()
    encoder = model.encoder
    report = compare(encoder, whole.encoder.state_dict())
    assert report.share == 1
    assert not report.missing
    assert report.unexpected
    assert all(name.startswith(('blocks.2.', 'blocks.3.')) for name in report.unexpected)
    encoder.load_state_dict(whole.encoder.state_dict(), strict=False)
    with torch.no_grad():
        expected = whole.encoder.run(whole.encoder.embed(images()), 0, 2)
        assert torch.equal(encoder.run(encoder.embed(images())).x, expected.x)
    assert len(encoder.blocks) == encoder.depth == len(encoder.window_sizes) == 2
    for own, other in zip(encoder.blocks[1:], whole.encoder.blocks[1:]):
        assert own.drop_path1.drop_prob == other.drop_path1.drop_prob > 0
    for name in encoder.state_dict():
        assert encoder.get_layer_depth(name) == whole.encoder.get_layer_depth(name)


def test_weights_of_the_whole_and_of_the_built_blocks_fit_and_others_do_not(tmp_path):
    model = early('PlainViT')

    def weights(depth):
        cfg = dict(type='PlainViT', encoder=dict(VIT, depth=depth))
        return {f'backbone.{name}': t for name, t in MODELS.build(cfg).state_dict().items()}

    whole = nn.ModuleDict(dict(backbone=model))
    for depth in (2, 4):
        assert check_fit(whole, weights(depth), min_share=1.0).share == 1
    with pytest.raises(WeightsError, match='the depth 3, .* here has 2 or 4'):
        check_fit(whole, weights(3))
    file = tmp_path / 'pretrained.pth'
    torch.save({name.removeprefix('backbone.encoder.'): t for name, t in weights(4).items()}, file)
    model.encoder.pretrained = file
    model.encoder.init_weights()
    expected = torch.load(file)['blocks.1.mlp.fc1.weight']
    assert torch.equal(model.encoder.blocks[1].mlp.fc1.weight, expected)


@pytest.mark.parametrize(
    'name',
    [
        'regnetx_002',
        *(pytest.param(name, marks=SLOW) for name in ('resnet18', 'convnext_atto')),
        *(pytest.param(name, marks=SLOW) for name in ('swin_s3_tiny_224', 'efficientnet_b0')),
    ],
)
def test_stages_of_timm_that_give_no_map_are_not_built(name):
    stages = MODELS.build(dict(type='TimmStages', model_name=name, strides=[4, 8]))
    sum(level.square().sum() for level in stages.train()(torch.randn(2, 3, 224, 224))).backward()
    assert not [key for key, p in stages.named_parameters() if p.grad is None]


IDLE = [
    ('resnet', (0, 1), dict(type='PartialTuning'), "PartialTuning would train 'layer4.2'.*num_st"),
    ('resnet', (0, 2), dict(type='ProTuning'), "ProTuning would train 'layer4'"),
    ('swin', (0, 1, 2), dict(type='BiasTuning'), r"train 'stages\.3\.blocks.0.*entries of depths"),
    ('swin', (1,), [dict(type='HeadOnly')], None),
    ('resnet', (0, 1), dict(type='ProTuning', stages=[0, 1]), None),
]


@pytest.mark.parametrize(('backbone', 'indices', 'tuning', 'message'), IDLE)
def test_idle_stages_of_the_toolboxes_are_refused_where_they_would_train(
    backbone, indices, tuning, message
):
    pytest.importorskip('mmcv.ops', reason='needs mmcv')
    from tests.tuning.toys import build

    if message is None:
        build(backbone, tuning, out_indices=indices)
        return
    with pytest.raises(ValueError, match=message):
        build(backbone, tuning, out_indices=indices)


def test_side_network_has_a_projection_for_each_map_that_is_returned():
    """The first maps of four left out leave the other levels as they were."""
    pytest.importorskip('mmcv.ops', reason='needs mmcv')
    from tests.tuning.toys import build

    side = dict(type='SideTuning', width=8)
    all_maps, two = build('resnet', side), build('resnet', side, out_indices=(2, 3))
    own = two.tuning.state_dict()
    others = all_maps.tuning.state_dict()
    for name, tensor in own.items():
        key, index = name.split('.')[:2]
        if key in ('projections', 'blend'):
            name = name.replace(f'{key}.{index}', f'{key}.{int(index) + 2}', 1)
        assert others[name].shape == tensor.shape
        tensor.copy_(others[name])
    two.tuning.load_state_dict(own)  # the ResNets are equal
    with torch.no_grad():
        for a, b in zip(two.eval()(images()), all_maps.eval()(images())[2:], strict=True):
            torch.testing.assert_close(a, b)
