"""`torch.compile`: one graph, the same numbers, at every size of images and batches."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import vitadapter_dense  # noqa: F401  (registers)

SMALL = dict(type='TimmViT', img_size=64, embed_dim=32, depth=2, num_heads=2)
ENCODERS = {
    'vit': dict(model_name='vit_tiny_patch16_224', window_sizes=[3, None]),
    'beit': dict(model_name='beit_base_patch16_224', window_sizes=[3, None], window_pad='input'),
    'beit_cls': dict(model_name='beit_base_patch16_224', keep_prefix_tokens=True),
    'eva02': dict(model_name='eva02_small_patch14_224', img_size=56),
    'dinov3': dict(model_name='vit_small_patch16_dinov3', keep_prefix_tokens=True),
    'frozen': dict(model_name='vit_tiny_patch16_224', frozen=True),
}
# one graph for the first, one more for all others; a single image has a third
SHAPES = ((2, 3, 64, 96), (3, 3, 80, 64), (2, 3, 97, 130))


def adapter(family: str, **options) -> dict:
    return dict(
        type='ViTAdapter',
        encoder={**SMALL, **ENCODERS[family]},
        conv_inplane=4,
        deform_num_heads=2,
        **options,
    )


def assert_same(compiled: nn.Module, model: nn.Module, shape: tuple[int, ...]) -> None:
    images = torch.randn(shape)
    with torch.no_grad():
        for output, reference in zip(compiled(images), model(images), strict=True):
            torch.testing.assert_close(output, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('family', ENCODERS)
def test_one_graph_with_the_same_numbers(family):
    """`fullgraph=True` raises at the first graph break."""
    model = MODELS.build(
        adapter(family, injector=family != 'frozen', interaction_indexes=[[0, 0], [1, 1]])
    ).eval()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    assert_same(compiled, model, (1, 3, 64, 96))


@pytest.mark.slow
def test_every_size_of_an_adapter():
    """Inductor of torch 2.11 fails at Python's `%` of a size, and needs minutes for this graph."""

    def backend(graph: torch.fx.GraphModule, _inputs: list) -> Callable:
        assert all(node.target is not operator.mod for node in graph.graph.nodes)
        return graph.forward

    model = MODELS.build(adapter('vit', interaction_indexes=[[0, 1]])).eval()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for shape in SHAPES:
        assert_same(compiled, model, shape)


@pytest.mark.slow
def test_every_size_of_a_tuned_segmentor_with_the_default_back_end():
    torch.manual_seed(0)
    model = _segmentor().eval()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True)
    for shape in SHAPES:
        assert_same(compiled, model, shape)


def _segmentor() -> nn.Module:
    models = pytest.importorskip('mmseg.models')
    head = dict(
        type='FCNHead',
        in_channels=32,
        channels=8,
        num_classes=3,
        num_convs=1,
        concat_input=False,
        norm_cfg=dict(type='BN'),
    )
    plain = dict(type='PlainViT', encoder={**SMALL, **ENCODERS['vit']})
    methods = [dict(type='Mona', hidden=4), dict(type='VisualPromptTuning', num_tokens=2)]
    backbone = dict(type='TunedBackbone', backbone=plain, tuning=methods)
    with DefaultScope.overwrite_default_scope('mmseg'):  # a test before may have left another
        return models.EncoderDecoder(
            backbone=backbone, decode_head=head, test_cfg=dict(mode='whole')
        )
