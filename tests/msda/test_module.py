"""`MSDeformAttn` calls its four projections, or does what they would do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from msda import MSDeformAttn

PROJECTIONS = ('sampling_offsets', 'attention_weights', 'value_proj', 'output_proj')


def make() -> MSDeformAttn:
    torch.manual_seed(0)
    layer = MSDeformAttn(16, 1, n_heads=2, n_points=2)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return layer


def output(layer: MSDeformAttn) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    query, feat = torch.randn(2, 1, 12, 16, generator=draw)
    return layer(query, torch.rand(1, 12, 1, 2, generator=draw), feat, [(3, 4)])


class Changed(nn.Module):
    """A layer with a low-rank change, as other libraries put it in a layer's place."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.down = linear, nn.Linear(linear.in_features, 2, bias=False)
        self.up = nn.Linear(2, linear.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.up(self.down(x))


@pytest.mark.parametrize('name', PROJECTIONS)
def test_what_hangs_on_a_projection_acts(name):
    layer = make()
    bare = output(layer)
    linear = getattr(layer, name)

    handle = linear.register_forward_hook(lambda _module, _args, out: out + 0)
    torch.testing.assert_close(output(layer), bare)  # called one by one it is the same
    handle.remove()
    handle = linear.register_forward_hook(lambda _module, _args, out: 2 * out + 1)
    doubled = output(layer)
    handle.remove()
    with torch.no_grad():
        linear.weight *= 2
        linear.bias.copy_(2 * linear.bias + 1)
    torch.testing.assert_close(doubled, output(layer))
    assert (doubled - bare).abs().max() > 1e-3

    layer = make()
    setattr(layer, name, Changed(getattr(layer, name)))
    changed = output(layer)
    inner = getattr(layer, name)
    folded = make()
    with torch.no_grad():
        getattr(folded, name).weight += inner.up.weight @ inner.down.weight
    torch.testing.assert_close(changed, output(folded))

    layer = make()
    parametrizations.weight_norm(getattr(layer, name))
    torch.testing.assert_close(output(layer), bare)
    output(layer).sum().backward()
    assert getattr(layer, name).parametrizations.weight.original0.grad is not None


def test_quantised_projections_are_called():
    layer = make().eval()
    bare = output(layer)
    quantised = torch.ao.quantization.quantize_dynamic(layer, {nn.Linear}, dtype=torch.qint8)
    assert (output(quantised) - bare).abs().mean() < 0.1 * bare.abs().mean()


class Doubled(nn.Linear):
    """A linear layer of another kind, with plain weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class ReadWhole(torch.Tensor):
    """A weight that is what it is for whole products only, as quantised ones are."""


def of_another_kind(linear: nn.Linear) -> None:
    linear.__class__ = Doubled


def with_a_forward_of_its_own(linear: nn.Linear) -> None:
    linear.forward = lambda x: 2 * nn.Linear.forward(linear, x)


@pytest.mark.parametrize('change', [of_another_kind, with_a_forward_of_its_own])
@pytest.mark.parametrize('name', ['sampling_offsets', 'attention_weights'])
def test_layers_that_compute_otherwise_are_called(name, change):
    layer, doubled = make(), make()
    change(getattr(layer, name))
    with torch.no_grad():
        for parameter in getattr(doubled, name).parameters():
            parameter *= 2
    torch.testing.assert_close(output(layer), output(doubled))


def test_weights_of_another_kind_are_not_joined():
    layer = make()
    weight = layer.attention_weights.weight
    called = []
    layer.attention_weights.weight = nn.Parameter(weight.detach().as_subclass(ReadWhole))
    real = torch.nn.functional.linear
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.nn.functional, 'linear', lambda x, w, b: called.append(type(w)) or real(x, w, b)
        )
        output(layer)
    assert called.count(nn.Parameter) == 3
    assert len(called) == 4


def test_a_hook_for_all_modules_sees_all_four():
    called = []
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: called.append(id(m)))
    layer = make()
    output(layer)
    handle.remove()
    assert {id(getattr(layer, name)) for name in PROJECTIONS} <= set(called)
