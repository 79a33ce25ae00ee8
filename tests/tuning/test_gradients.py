"""Gradients of every backbone under every method, against finite differences and other batches.

In float64 and with everything drawn at random, so that six digits must agree; see
`vitadapter_dense/training/gradient_check.py`. One step along directions of all tensors together
finds a wrong one among hundreds, for each has an equal share.
"""

from __future__ import annotations

import itertools
import zlib

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.tuning.toys import (
    BACKBONES,
    CONVOLUTIONAL,
    IN_BLOCKS,
    INPUT_PROMPTS,
    METHODS,
    TRANSFORMERS,
    VIT,
    build,
)
from vitadapter_dense.training.gradient_check import (
    IMAGES,
    GradientCheck,
    faults_of_parts,
    is_dense,
    randomise,
)

SIZES = [(33, 47), (51, 34)]
BEIT = dict(VIT, model_name='beit_base_patch16_224', window_sizes=[2, None] * 2)
EVA = dict(VIT, model_name='eva02_small_patch14_224', img_size=56, window_sizes=[None, 3] * 2)
DINO = dict(VIT, model_name='vit_small_patch16_dinov3', keep_prefix_tokens=True)
# What the invariants leave out: other families, pyramids, normalisations, recomputing.
MORE = dict(
    beit_adapter=dict(
        type='ViTAdapter',
        encoder=dict(BEIT, window_pad='input', keep_prefix_tokens=True, with_cp=True),
        conv_inplane=4,
        deform_num_heads=2,
        interaction_indexes=[[0, 0], [1, 3]],
        norm_cfg=dict(type='GN', num_groups=2),
        with_cp=True,
    ),
    eva_adapter=dict(
        type='ViTAdapter',
        encoder=EVA,
        conv_inplane=4,
        deform_num_heads=4,
        deform_ratio=0.5,
        vit_feature='per_stage',
        use_extra_extractor=False,
    ),
    dino=dict(type='PlainViT', encoder=DINO, out_indices=[0, 3]),
    # two channels a group: one alone would be normalised away with its bias
    pyramid=dict(type='SimplePyramid', encoder=dict(VIT, embed_dim=64)),
    beit_pyramid=dict(type='SimplePyramid', encoder=BEIT),
    vitdet=dict(type='SimplePyramid', encoder=VIT, style='vitdet', out_channels=8),
)
# the toys' gates have one channel otherwise, which is shut as often as not
WIDE_GATES = dict(METHODS, pro=dict(type='ProTuning', se_reduction=2))
FAST = [
    ('full', 'vitadapter'),
    ('mona', 'vit'),
    ('pro', 'resnet'),
    ('mlp_head', 'dino'),
    ('vpt_deep', 'swin'),
    ('convpass', 'beit_adapter'),
]
PAIRS = [
    (method, backbone)
    for number, method in enumerate(METHODS)
    for backbone in (*BACKBONES, *MORE)
    if backbone in TRANSFORMERS or backbone in MORE or method not in IN_BLOCKS
    if method != 'vpt_pad' or backbone in CONVOLUTIONAL
    if method not in INPUT_PROMPTS
    # the encoders of these run the same hooks: they take turns
    if backbone not in MORE
    or (method, backbone) in FAST
    or (number + list(MORE).index(backbone)) % 3 == 0
]


def make(backbone: str, method: str) -> nn.Module:
    if backbone in BACKBONES:
        return build(backbone, WIDE_GATES[method])
    torch.manual_seed(0)
    cfg = MORE[backbone]
    if cfg['type'] == 'ViTAdapter':
        return MODELS.build(dict(cfg, tuning=WIDE_GATES[method]))
    return MODELS.build(dict(type='TunedBackbone', backbone=cfg, tuning=WIDE_GATES[method]))


def check_of(model: nn.Module, batch: int, training: bool, seed: int) -> GradientCheck:
    """One forward and backward pass of images as a camera gives them, their channels last."""
    generator = torch.Generator().manual_seed(seed)
    height, width = SIZES[seed % len(SIZES)]
    images = torch.randn(batch, height, width, 3, generator=generator, dtype=torch.float64)
    model.train(training)
    return GradientCheck(model, images.movedim(-1, 1), generator)


def mixes_images(model: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) and module.training for module in model.modules())


@pytest.mark.parametrize(
    ('method', 'backbone'),
    [pytest.param(*pair, marks=[] if pair in FAST else [pytest.mark.slow]) for pair in PAIRS],
)
def test_gradients_are_finite_differences(method, backbone):
    seed = zlib.crc32(f'{method} {backbone}'.encode()) % 1000
    model = randomise(make(backbone, method), torch.Generator().manual_seed(seed))
    dead = set(dict(model.named_parameters())) | {IMAGES}
    for batch, training in itertools.product((1, 2), (False, True)):
        check = check_of(model, batch, training, seed)
        assert all(is_dense(feature_map) for feature_map in check.maps)
        assert [str(fault) for fault in check.faults_of_all()] == []
        if batch > 1 and not mixes_images(model):
            assert faults_of_parts(check) == []
        dead &= set(check.dead())
    for more in range(1, 8):  # a batch norm takes a bias away; a narrow gate may be shut
        if dead:
            randomise(model, torch.Generator().manual_seed(seed + more))
            dead &= set(check_of(model, 2, False, seed + more).dead())
    assert dead == set()


class Wrong(torch.autograd.Function):
    """The same number, with a gradient that is not."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (1 + 1e-4)


@pytest.mark.parametrize('wrong', [False, True])
def test_the_check_follows_a_sharp_bend(wrong):
    """No plain difference does where a wave is shorter than every step that rounding leaves."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bent = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, images):
            bent = Wrong.apply(self.bent) if wrong else self.bent
            return [images.sign() * torch.sin(3e6 * (bent - 1)) / 3e6]

    generator = torch.Generator().manual_seed(0)
    check = GradientCheck(Model(), torch.randn(1, 3, 2, 2, dtype=torch.float64), generator)
    assert [fault.name for fault in check.faults(['bent'])] == ['bent'] * wrong


def test_the_check_finds_a_wrong_gradient_and_a_missing_one():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.idle = nn.Conv2d(3, 4, 3), nn.Linear(2, 2)
            self.scale, self.bent = nn.Parameter(torch.ones(4, 1, 1)), nn.Parameter(torch.ones(1))

        def forward(self, images):
            return [torch.tanh(self.conv(images) * self.scale) * Wrong.apply(self.bent)]

    generator = torch.Generator().manual_seed(0)
    model = randomise(Model(), generator)
    check = GradientCheck(model, torch.randn(1, 3, 9, 9, dtype=torch.float64), generator)
    assert [fault.name for fault in check.faults_of_all()] == ['bent']
    assert check.dead() == ['idle.weight', 'idle.bias']
    assert IMAGES in check.gradients
