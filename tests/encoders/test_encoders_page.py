"""What the table of docs/encoders.md says was tested: every kind of encoder in it, at toy size."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import timm
import torch

from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.encoders import TimmViT

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tools' / 'analysis'))

import encoders_page  # noqa: E402

ROW = re.compile(r'^\| `([\w.]+)` \|.*\| ([a-z, ]+) \| [^|]*\|$', re.MULTILINE)
TABLE = ROW.findall((ROOT / 'docs' / 'encoders.md').read_text())
NAMES = [name for name, _ in TABLE]


def kinds() -> dict[str, str]:
    """What was tested, by the first encoder of each kind: the others are the same at toy size."""
    found = {}
    for name, tested in TABLE:
        with torch.device('meta'):
            model = timm.create_model(name, num_classes=0, depth=1, embed_dim=32, num_heads=2)
        switches = {k: v for k, v in vars(model).items() if isinstance(v, int | str)}
        found.setdefault(f'{model} {list(model.state_dict())} {switches}', (name, tested))
    return dict(found.values())


KINDS = kinds()


def small(name, **options):
    """The architecture of an encoder, its switches as they are, narrow and shallow."""
    side = 4 * timm.create_model(name, depth=1, embed_dim=32, num_heads=2).patch_embed.patch_size[0]
    return dict(dict(model_name=name, img_size=side, embed_dim=32, depth=2, num_heads=2), **options)


def randomise(model):
    """Random values for what starts at a constant: layer scales, biases, BEiT's tables."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 or parameter.std() == 0:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def adapter(encoder, **options):
    encoder = dict(encoder, type='TimmViT')
    spans = [[0, 0], [1, 1]]
    small = dict(conv_inplane=4, deform_num_heads=2, interaction_indexes=spans)
    return randomise(ViTAdapter(encoder, **small, **options)).eval()


def check_windows(name):
    plain = randomise(TimmViT(**small(name, keep_prefix_tokens=True))).eval()
    windowed = TimmViT(**small(name, keep_prefix_tokens=True, window_sizes=[4, 4])).eval()
    windowed.load_state_dict(plain.state_dict(), strict=True)
    images = torch.randn(2, 3, 4 * plain.patch_size, 4 * plain.patch_size)
    with torch.no_grad():
        expected = plain.run(plain.embed(images)).x
        torch.testing.assert_close(windowed.run(windowed.embed(images)).x, expected)
        halves = TimmViT(**small(name, keep_prefix_tokens=True, window_sizes=[2, 2])).eval()
        halves.load_state_dict(plain.state_dict())
        assert not torch.allclose(halves.run(halves.embed(images)).x, expected, atol=1e-3)


def check_any_size(name):
    for keep in (False, True):
        for windows in (None, [3, None]):
            options = dict(keep_prefix_tokens=keep, window_sizes=windows)
            model = randomise(TimmViT(**small(name, **options))).eval()
            patch = model.patch_size
            for height, width in ((70, 45), (9, 120)):
                images = torch.randn(1, 3, height, width)
                whole = torch.nn.functional.pad(images, (0, -width % patch, 0, -height % patch))
                with torch.no_grad():
                    tokens = model.run(model.embed(images))
                    assert tokens.hw == (whole.shape[2] // patch, whole.shape[3] // patch)
                    assert tokens.x.isfinite().all()
                    torch.testing.assert_close(tokens.x, model.run(model.embed(whole)).x)


def check_frozen(name):
    frozen = adapter(small(name, frozen=True), injector=False).train()
    trained = adapter(small(name), injector=False).train()
    trained.load_state_dict(frozen.state_dict())
    images = torch.randn(2, 3, 64, 48)
    outputs = frozen(images)
    for output, reference in zip(outputs, trained(images), strict=True):
        torch.testing.assert_close(output, reference, rtol=1e-4, atol=1e-4)
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    assert all(p.grad is None for p in frozen.encoder.parameters())
    assert all(p.grad is not None for p in frozen.parameters() if p.requires_grad)


def check_compile(name):
    model = adapter(small(name, window_sizes=[3, None]))
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for output, reference in zip(compiled(images), model(images), strict=True):
            torch.testing.assert_close(output, reference, rtol=1e-4, atol=1e-4)


CHECKS = {
    'windows': check_windows,
    'any size': check_any_size,
    'frozen': check_frozen,
    'compile': check_compile,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'feature'),
    [(name, feature) for name, tested in KINDS.items() for feature in tested.split(', ')],
)
def test_what_the_page_says_of_an_encoder(name, feature):
    CHECKS[feature](name)


@pytest.mark.slow
@pytest.mark.parametrize('name', KINDS)
def test_every_encoder_equals_timm_before_the_final_norm(name):
    ours = randomise(TimmViT(**small(name, keep_prefix_tokens=True))).eval()
    theirs = timm.create_model(num_classes=0, **small(name)).eval()
    assert not theirs.load_state_dict(ours.state_dict(), strict=False).unexpected_keys
    theirs.norm = torch.nn.Identity()
    images = torch.randn(2, 3, 4 * ours.patch_size, 4 * ours.patch_size)
    with torch.no_grad():
        tokens = ours.run(ours.embed(images))
        torch.testing.assert_close(tokens.x, theirs.forward_features(images), rtol=1e-5, atol=1e-5)


def test_the_page_has_every_encoder_of_the_tool_and_of_the_configs():
    assert [name for name, *_ in encoders_page.ENCODERS] == NAMES
    configured = set()
    for file in (ROOT / 'configs').rglob('*.py'):
        # Swin is a backbone of its own, without an adapter
        configured.update(re.findall(r"'((?!swin)\w+_patch\w+\.\w+)'", file.read_text()))
    assert len(configured) > 20
    assert configured <= set(NAMES)


def test_the_page_names_configs_that_exist():
    for name, _, pattern in encoders_page.ENCODERS:
        files = list((ROOT / 'configs').rglob(pattern)) if pattern else []
        assert bool(files) == bool(pattern), name
