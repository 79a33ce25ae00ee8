"""Steps on paper, beside arithmetic by hand, and the laws that are fitted to costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitadapter_dense.reports.flops import count_all_flops
from vitadapter_dense.reports.laws import fit_law
from vitadapter_dense.reports.time_plan import Machine, planned_flops, step_time


def test_a_step_is_what_a_hand_computes():
    """1 T operations at 100 T x 0.5; 4 GB of weights, 1 GB of them (250 M values) trained."""
    machine = Machine(
        peak=100e12,
        utilisation=0.5,
        memory=1e12,
        inside=100e9,
        between=10e9,
        gpus=4,
        efficiency=0.5,
    )
    sizes = dict(weights=4 * 10**9, trained=10**9, machine=machine)
    ddp = step_time(1e12, processes=4, kind='DDP', **sizes)
    # 2 x 3/4 x 1 GB at 50 GB/s; 250 M values x 28 bytes at 1 TB/s
    assert ddp == pytest.approx((0.02, 0.03, 0.007))
    assert ddp.hidden == pytest.approx(0.037)
    assert ddp.exposed == pytest.approx(0.057)
    # on two machines 2 x 7/8 x 1 GB at 5 GB/s
    ddp = step_time(1e12, processes=8, kind='DDP', **sizes)
    assert ddp.communication == pytest.approx(0.35)
    # 7/8 x (4 GB twice, and gradients once), and an eighth of the values
    sharded = step_time(1e12, processes=8, kind='sharded', **sizes)
    assert sharded == pytest.approx((0.02, 7 / 8 * 9 / 5, 0.007 / 8))
    assert step_time(1e12, processes=1, kind='sharded', **sizes).communication == 0
    # ports that carry more than the links inside are no help
    wide = sizes | dict(machine=machine._replace(between=1e12))
    ddp = step_time(1e12, processes=8, kind='DDP', **wide)
    assert ddp.communication == pytest.approx(0.035)


class Attending(nn.Module):
    """A linear layer and attention with one head over all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 8, bias=False)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        # (B, 3, H, W) -> (B, 1, H*W, 8)
        tokens = self.layer(images.flatten(2).transpose(1, 2))[:, None]
        return [nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)]


def test_both_passes_are_counted_as_they_are_without_memory():
    tokens = 2 * 64
    forward = 2 * tokens * 3 * 8 + 2 * (2 * tokens * 64 * 8)
    # the layer's weight alone (images have no gradient); five products of the attention
    backward = 2 * tokens * 3 * 8 + 5 * (2 * tokens * 64 * 8)
    images = torch.rand(2, 3, 8, 8)
    real = Attending()
    assert count_all_flops(lambda: real(images)[0].sum().backward()) == forward + backward
    with torch.device('meta'):
        planned = Attending()
    assert planned_flops(planned, tuple(images.shape)) == forward + backward


def test_a_law_is_found_and_what_breaks_it_is_told():
    sizes = [256, 576, 1024, 1600, 4096]
    values = [0.5 + 2e-3 * size + 3e-7 * size**2 for size in sizes]
    law = fit_law(sizes, values, degree=2)
    assert law.coefficients == pytest.approx((0.5, 2e-3, 3e-7), rel=1e-6)
    assert max(map(abs, law.residuals)) < 1e-9
    assert abs(law.largest) < 1e-9
    linear = fit_law(sizes, values, degree=1)
    # by hand: of the line through the other four, which bends away
    assert linear.largest > 0.1
    broken = fit_law(sizes, [*values[:-1], 2 * values[-1]], degree=2)
    assert broken.largest == pytest.approx(1)
    assert fit_law([1, 2], [3, 5], degree=1).largest is None
    with pytest.raises(ValueError, match='2 points are too few'):
        fit_law([1, 2], [3, 5], degree=2)
