"""`torch.compile` of a ViT-Adapter: one graph, the same numbers."""

from __future__ import annotations

import pytest
import torch

from vitadapter_dense.backbones import ViTAdapter

ENCODERS = {
    'vit': dict(model_name='vit_tiny_patch16_224', window_sizes=[3, None]),
    'beit': dict(model_name='beit_base_patch16_224', window_sizes=[3, None], window_pad='input'),
    'beit_cls': dict(model_name='beit_base_patch16_224', keep_prefix_tokens=True),
    'eva02': dict(model_name='eva02_small_patch14_224', img_size=56),
    'dinov3': dict(model_name='vit_small_patch16_dinov3', keep_prefix_tokens=True),
    'frozen': dict(model_name='vit_tiny_patch16_224', frozen=True),
}


@pytest.mark.slow
@pytest.mark.parametrize('family', ENCODERS)
def test_one_graph_with_the_same_numbers(family):
    """`fullgraph=True` raises at the first graph break."""
    small = dict(img_size=64, embed_dim=32, depth=2, num_heads=2)
    model = ViTAdapter(
        dict(type='TimmViT', **{**small, **ENCODERS[family]}),
        conv_inplane=4,
        deform_num_heads=2,
        interaction_indexes=[[0, 0], [1, 1]],
        injector=family != 'frozen',
    ).eval()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for output, reference in zip(compiled(images), model(images), strict=True):
            torch.testing.assert_close(output, reference, rtol=1e-4, atol=1e-5)
