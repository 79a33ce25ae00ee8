"""The merging tool: the plain model with merged weights predicts what the tuned one does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from tests.tuning.toys import BACKBONES, images

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'convert' / 'merge_tuning.py'


@MODELS.register_module()
class OnlyABackbone(BaseModel):
    """A model that is nothing but its backbone."""

    def __init__(self, backbone: dict, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return list(self.backbone(inputs))


def load_tool():
    spec = importlib.util.spec_from_file_location('merge_tuning', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config(folder: Path, tuning) -> Path:
    backbone = dict(type='TunedBackbone', backbone=BACKBONES['convnext'], tuning=tuning)
    path = folder / 'toy.py'
    Config(dict(model=dict(type='OnlyABackbone', backbone=backbone))).dump(path)
    return path


def test_merged_weights_are_the_plain_models(tmp_path):
    path = config(tmp_path, [dict(type='LoRA', rank=2), dict(type='SSF')])
    tuned = MODELS.build(Config.fromfile(path).model).eval()
    with torch.no_grad():
        for parameter in tuned.backbone.tuning.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    torch.save(dict(state_dict=tuned.state_dict()), tmp_path / 'tuned.pth')
    arguments = [path, tmp_path / 'tuned.pth', tmp_path / 'merged.pth']
    assert load_tool().main([str(argument) for argument in arguments]) == 0
    plain = OnlyABackbone(BACKBONES['convnext']).eval()
    merged = torch.load(tmp_path / 'merged.pth', weights_only=True)
    with torch.no_grad():
        untuned, expected = plain(images()), tuned(images())
        plain.load_state_dict(merged['state_dict'])
        for without, one, other in zip(untuned, plain(images()), expected):
            assert (one - other).abs().max() < 1e-5 * other.abs().max()
            assert (without - other).abs().max() > 0.1


def test_a_frozen_encoder_in_16_bits_is_told_of(tmp_path, capsys):
    encoder = dict(type='TimmViT', model_name='deit_tiny_patch16_224', embed_dim=24, depth=4)
    encoder.update(num_heads=3, frozen=True, dtype='bfloat16')
    backbone = dict(type='ViTAdapter', encoder=encoder, deform_num_heads=3)
    path = tmp_path / 'toy.py'
    tuned = dict(backbone, tuning=dict(type='LoRA', rank=2))
    Config(dict(model=dict(type='OnlyABackbone', backbone=tuned))).dump(path)
    model = MODELS.build(Config.fromfile(path).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'tuned.pth')
    assert load_tool().main([str(path), str(tmp_path / 'tuned.pth'), str(tmp_path / 'o.pth')]) == 0
    assert "without tuning and without dtype='bfloat16'" in capsys.readouterr().out


def test_what_cannot_be_merged_is_told(tmp_path):
    path = config(tmp_path, dict(type='ProTuning'))
    model = MODELS.build(Config.fromfile(path).model)
    torch.save(model.state_dict(), tmp_path / 'tuned.pth')
    with pytest.raises(SystemExit, match='ProTuning cannot be merged'):
        load_tool().main([str(path), str(tmp_path / 'tuned.pth'), str(tmp_path / 'out.pth')])
    assert not (tmp_path / 'out.pth').exists()
