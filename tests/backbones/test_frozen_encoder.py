"""An encoder that is frozen and that nothing is injected into: no gradients, less memory."""

from __future__ import annotations

import pytest
import torch

from vitadapter_dense.backbones import ViTAdapter


def adapter(frozen=False, model_name='vit_tiny_patch16_224', **overrides):
    encoder = dict(
        type='TimmViT',
        model_name=model_name,
        **dict(img_size=64, embed_dim=32, depth=4, num_heads=2, frozen=frozen),
    )
    return ViTAdapter(encoder, conv_inplane=4, deform_num_heads=2, **overrides)


@pytest.mark.parametrize('dtype', [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    'model_name', ['vit_tiny_patch16_224', 'beit_base_patch16_224', 'vit_small_patch16_dinov3']
)
def test_a_frozen_encoder_that_nothing_reaches_runs_apart(dtype, model_name):
    """No graph, bfloat16 under any autocast, and the numbers of an encoder that trains."""
    frozen = adapter(frozen=True, model_name=model_name, injector=False)
    trained = adapter(model_name=model_name, injector=False)
    trained.load_state_dict(frozen.state_dict())
    seen = []

    def look(module, inputs):
        mode = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else None
        seen.append((torch.is_grad_enabled(), mode))

    frozen.encoder.blocks[2].mlp.register_forward_pre_hook(look)
    images = torch.randn(2, 3, 64, 64)
    with torch.autocast('cpu', dtype or torch.bfloat16, enabled=dtype is not None):
        outputs = frozen(images)
    assert seen == [(False, dtype and torch.bfloat16)]
    sum(output.float().square().mean() for output in outputs).backward()
    assert all(p.grad is None for p in frozen.encoder.parameters())
    assert all(p.grad is not None for p in frozen.parameters() if p.requires_grad)
    if dtype is None:
        for output, reference in zip(outputs, trained(images), strict=True):
            torch.testing.assert_close(output, reference)  # attention has another kernel


def saved_bytes(model):
    """What a forward pass keeps for the backward pass, each storage counted once."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(torch.randn(2, 3, 64, 64))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    del outputs
    return sum(size for pointer, size in kept.items() if pointer not in weights)


def test_a_frozen_encoder_keeps_less_for_the_backward_pass():
    full = saved_bytes(adapter(injector=False))
    apart = saved_bytes(adapter(frozen=True, injector=False))
    with_injector = saved_bytes(adapter(frozen=True))
    assert apart < 0.8 * full
    assert apart < with_injector < saved_bytes(adapter())
