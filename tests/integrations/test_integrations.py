"""The backbones in other frameworks: strides, channels, a step of training, a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vitadapter_dense.integrations.sizes import ENCODERS, backbone_config
from vitadapter_dense.integrations.torchvision_detection import ViTAdapterFPN

TINY = dict(
    type='ViTAdapter',
    encoder=dict(
        type='TimmViT',
        model_name='vit_tiny_patch16_224',
        img_size=64,
        embed_dim=48,
        depth=4,
        num_heads=3,
        pretrained=False,
    ),
    conv_inplane=8,
    deform_num_heads=3,
)
SHAPES = [(48, 64 // stride, 96 // stride) for stride in (4, 8, 16, 32)]


def images() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def check_step(model: nn.Module, adapter: nn.Module, loss: Tensor) -> None:
    """A step changes the ViT as well as what is behind it."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    changed = {n for n, value in model.named_parameters() if not torch.equal(value, before[n])}
    prefix = next(name for name, module in model.named_modules() if module is adapter)
    assert any(name.startswith(f'{prefix}.encoder.blocks') for name in changed)
    assert any(name.startswith(f'{prefix}.spm') for name in changed)
    assert any(not name.startswith(prefix) for name in changed)


@pytest.mark.parametrize('size', ENCODERS)
@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_sizes_are_those_of_the_configurations(size: str, task: str) -> None:
    config = backbone_config(size, task=task)
    assert config['type'] == 'ViTAdapter'
    assert config['encoder']['pretrained'] is True
    assert any(config['encoder'].get('window_sizes') or ()) == (task == 'detection')


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(ValueError, match="'xl': choose one of t, s, b, l"):
        backbone_config('xl', task='detection')


@pytest.mark.slow
@pytest.mark.parametrize('masks', [True, False])
def test_torchvision(masks: bool) -> None:
    from torchvision.models.detection import FasterRCNN, MaskRCNN

    torch.manual_seed(0)
    backbone = ViTAdapterFPN(TINY, out_channels=32)
    maps = backbone(images())
    sizes = [(32, *shape[1:]) for shape in SHAPES] + [(32, 1, 2)]
    assert [tuple(found.shape[1:]) for found in maps.values()] == sizes
    model = (MaskRCNN if masks else FasterRCNN)(backbone, 3, min_size=64, max_size=96)
    target = dict(boxes=torch.tensor([[8.0, 8, 60, 50]]), labels=torch.tensor([1]))
    target |= dict(masks=torch.ones(1, 64, 96, dtype=torch.uint8)) if masks else {}
    losses = model(list(images()), [target] * 2)
    assert ('loss_mask' in losses) == masks
    check_step(model, backbone.adapter, sum(losses.values()))
    found = model.eval()(list(images()))[0]
    assert ('masks' in found) == masks


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['Unet', 'UPerNet', 'FPN'])
def test_segmentation_models_pytorch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    smp = pytest.importorskip(
        'segmentation_models_pytorch', reason='the extra integrations is not installed'
    )
    from vitadapter_dense.integrations import segmentation_models

    monkeypatch.setattr(segmentation_models, 'backbone_config', lambda *_, **__: TINY)
    torch.manual_seed(0)
    model = getattr(smp, kind)('vitadapter_s', encoder_weights=None, classes=5)
    maps = model.encoder(images())
    assert [tuple(found.shape[1:]) for found in maps] == [(3, 64, 96), (0, 32, 48), *SHAPES]
    assert [found.shape[1] for found in maps] == model.encoder.out_channels
    scores = model(images())
    assert scores.shape == (2, 5, 64, 96)
    labels = torch.zeros(2, 64, 96, dtype=torch.long)
    check_step(model, model.encoder.adapter, nn.functional.cross_entropy(scores, labels))
    for wrong in (dict(in_channels=4), dict(encoder_depth=1)):
        with pytest.raises(ValueError, match='channels|stride'):
            getattr(smp, kind)('vitadapter_s', encoder_weights=None, **wrong)


@pytest.mark.slow
def test_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip(
        'transformers', reason='the extra integrations is not installed'
    )
    from vitadapter_dense.integrations.hugging_face import ViTAdapterBackbone, ViTAdapterConfig

    torch.manual_seed(0)
    config = ViTAdapterConfig(adapter=TINY)
    backbone = transformers.AutoBackbone.from_config(config).eval()
    assert isinstance(backbone, ViTAdapterBackbone)
    assert [tuple(m.shape[1:]) for m in backbone(images()).feature_maps] == SHAPES
    assert backbone.channels == [48] * 4
    assert all(bool(m.sampling_offsets.bias.any()) for m in _attentions(backbone))

    backbone.save_pretrained(tmp_path / 'backbone')
    again = ViTAdapterBackbone.from_pretrained(
        tmp_path / 'backbone', out_features=['stage2', 'stage4']
    ).eval()
    with torch.no_grad():
        expected, found = backbone(images()).feature_maps, again(images()).feature_maps
    assert len(found) == 2
    assert torch.equal(found[0], expected[1])
    assert torch.equal(found[1], expected[3])

    upernet = transformers.UperNetForSemanticSegmentation(
        transformers.UperNetConfig(backbone_config=config, hidden_size=16, num_labels=5)
    )
    labels = torch.zeros(2, 64, 96, dtype=torch.long)
    output = upernet(images(), labels=labels)
    assert output.logits.shape == (2, 5, 64, 96)
    check_step(upernet, upernet.backbone.adapter, output.loss)
    upernet.eval().save_pretrained(tmp_path / 'upernet')
    again = type(upernet).from_pretrained(tmp_path / 'upernet').eval()
    with torch.no_grad():
        assert torch.equal(again(images()).logits, upernet(images()).logits)


@pytest.mark.slow
def test_transformers_mask2former() -> None:
    transformers = pytest.importorskip(
        'transformers', reason='the extra integrations is not installed'
    )
    pytest.importorskip('scipy', reason='the extra integrations is not installed')
    from vitadapter_dense.integrations.hugging_face import ViTAdapterConfig

    torch.manual_seed(0)
    small = dict(feature_size=32, mask_feature_size=32, hidden_dim=32, num_attention_heads=2)
    small |= dict(encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1)
    config = transformers.Mask2FormerConfig(
        backbone_config=ViTAdapterConfig(adapter=TINY),
        **small,
        decoder_layers=2,
        num_queries=4,
        train_num_points=50,
        num_labels=3,
    )
    model = transformers.Mask2FormerForUniversalSegmentation(config)
    masks, labels = [torch.ones(1, 64, 96)] * 2, [torch.tensor([1])] * 2
    output = model(images(), mask_labels=masks, class_labels=labels)
    adapter = model.model.pixel_level_module.encoder.adapter
    check_step(model, adapter, output.loss)


def _attentions(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if hasattr(module, 'sampling_offsets')]
