"""Methods that choose what trains: only that changes, and the rest stays in eval mode."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.tuning.toys import VIT
from vitadapter_dense.backbones import ViTAdapter

METHODS = {
    'full': (dict(type='FullTuning'), lambda name: True),
    'head_only': (dict(type='HeadOnly'), lambda name: False),
    'partial': (
        dict(type='PartialTuning', num_blocks=2),
        lambda name: name.startswith(('blocks.2.', 'blocks.3.')),
    ),
    'bias': (dict(type='BiasTuning'), lambda name: name.endswith('.bias')),
    'list': (
        [dict(type='PartialTuning', num_blocks=1), dict(type='BiasTuning')],
        lambda name: name.startswith('blocks.3.') or name.endswith('.bias'),
    ),
}


def build(tuning=None):
    torch.manual_seed(0)
    return ViTAdapter(VIT, conv_inplane=4, deform_num_heads=2, tuning=tuning)


@pytest.mark.parametrize('method', METHODS)
def test_only_the_declared_parameters_change(method):
    config, declared = METHODS[method]
    model = build(config).train()
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for interaction in model.interactions:
            interaction.injector.gamma.fill_(0.1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    sum((output * torch.randn_like(output)).sum() for output in model(images)).backward()
    optimizer.step()
    for name, parameter in model.encoder.named_parameters():
        changed = not torch.equal(parameter, before[f'encoder.{name}'])
        assert parameter.requires_grad == declared(name), name
        assert changed == declared(name), name
    assert not torch.equal(model.level_embed, before['level_embed'])


@pytest.mark.parametrize('method', METHODS)
def test_untouched_at_the_start_and_without_new_names(method):
    plain, tuned = build().eval(), build(METHODS[method][0]).eval()
    assert plain.state_dict().keys() == tuned.state_dict().keys()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), tuned(images), rtol=0, atol=0)


def test_frozen_blocks_drop_no_path():
    model = build(dict(type='PartialTuning', num_blocks=1)).train()
    training = [block.drop_path1.training for block in model.encoder.blocks[1:]]
    assert training == [False, False, True]
    assert model.interactions[0].extractor.drop_path.training
    assert not any(module.training for module in model.eval().modules())


def test_errors_name_the_value():
    with pytest.raises(ValueError, match=r'PartialTuning\(num_blocks=5\) .* with 4 blocks'):
        build(dict(type='PartialTuning', num_blocks=5))
    with pytest.raises(ValueError, match='LowRank'):
        build(dict(type='LowRank'))
    with pytest.raises(TypeError, match='Adapter cannot be merged'):
        build(dict(type='Adapter')).tuning.merge()
