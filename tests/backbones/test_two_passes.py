"""Two passes of one model at a time, as by two threads: none sees anything of the other."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from vitadapter_dense.backbones import PlainViT, TunedBackbone, ViTAdapter
from vitadapter_dense.encoders import TimmViT

ENCODERS = {
    'vit': dict(model_name='vit_tiny_patch16_224', window_sizes=[3, None]),
    'beit': dict(model_name='beit_base_patch16_224', window_sizes=[3, None]),
    'eva': dict(model_name='eva02_small_patch14_224', img_size=56, keep_prefix_tokens=True),
}
IMAGES = torch.randn(2, 1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def make(family: str, **options) -> TimmViT:
    torch.manual_seed(0)
    small = dict(img_size=64, embed_dim=32, depth=2, num_heads=2)
    return TimmViT(**{**small, **ENCODERS[family]}, **options)


def wide_and_high() -> list[torch.Tensor]:
    return [IMAGES[0], IMAGES[1].mT]


@pytest.mark.parametrize(
    'family', [pytest.param(f, marks=[] if f == 'beit' else pytest.mark.slow) for f in ENCODERS]
)
def test_a_pass_in_the_midst_of_another(family):
    encoder = make(family)
    model = ViTAdapter(encoder, [[0, 0], [1, 1]], conv_inplane=4, deform_num_heads=2).eval()
    wide, high = wide_and_high()
    with torch.no_grad():
        expected = model(wide)
        other = model(high)
        for module in list(model.modules())[::5]:
            within: list[list[torch.Tensor]] = []

            def run_the_other(*_: object, within=within) -> None:
                if not within:  # once, and not within itself
                    within.append([])
                    within[0] += model(high)

            handle = module.register_forward_pre_hook(run_the_other)
            for one, alone in zip(model(wide), expected, strict=True):
                assert torch.equal(one, alone)
            handle.remove()
            for one, alone in zip(within[0] if within else other, other, strict=True):
                assert torch.equal(one, alone)


def test_blocks_recomputed_by_another_thread_after_another_pass():
    """PyTorch runs the backward pass of a GPU in a thread of its own."""
    gradients = []
    for with_cp in (False, True):
        encoder = make('beit', with_cp=with_cp, keep_prefix_tokens=True)
        losses = [encoder.run(encoder.embed(x)).x.square().mean() for x in wide_and_high()]
        for loss in losses:
            thread = threading.Thread(target=loss.backward)
            thread.start()
            thread.join()
        gradients.append([p.grad for p in encoder.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_two_backbones_on_one_encoder():
    """Each gives what it gives alone, and the encoder learns from both, recomputed or not."""
    encoder = make('beit')
    one = ViTAdapter(encoder, [[0, 0], [1, 1]], conv_inplane=4, deform_num_heads=2).eval()
    other = PlainViT(encoder).eval()

    def gradients(*models: nn.Module) -> tuple[torch.Tensor, ...]:
        outputs = [m(x) for m, x in zip((one, other), wide_and_high()) if m in models]
        loss = sum(level.square().mean() for maps in outputs for level in maps)
        return torch.autograd.grad(loss, encoder.blocks.parameters())

    alone = [gradients(model) for model in (one, other)]
    for with_cp in (False, True):
        encoder.with_cp = with_cp
        for together, *parts in zip(gradients(one, other), *alone, strict=True):
            torch.testing.assert_close(together, sum(parts))
    with pytest.raises(ValueError, match=r'blocks 1 to 1 of an encoder that was handed over'):
        PlainViT(encoder, [0])
    ViTAdapter(encoder, [[0, 1]], deform_num_heads=2, tuning=dict(type='VisualPromptTuning'))
    for build in (
        lambda: ViTAdapter(encoder, [[0, 1]], deform_num_heads=2, tuning=dict(type='LoRA')),
        lambda: TunedBackbone(PlainViT(encoder), dict(type='LoRA')),
    ):
        with pytest.raises(ValueError, match='TimmViT is tuned already'):
            build()


def test_attention_without_a_layout_says_so():
    block: nn.Module = make('vit').blocks[0]
    with pytest.raises(TypeError, match=r'layout of its tokens.*NoneType.*TimmViT\.run'):
        block(torch.randn(1, 4, 32))
