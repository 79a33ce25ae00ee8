"""The toolboxes' own inferencers take deltas: bit-equal to ours and to the whole checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from test_tuned_tools import write_weights
from tiny_detection import ROOT
from tiny_segmentation import CLASSES, CONFIG

from vitadapter_dense.checkpoints.checked_loading import WeightsError, hash_of
from vitadapter_dense.inference.predictor import Predictor, build_model, inferencer_config
from vitadapter_dense.tuning.delta import frozen_names, make_delta, notes

IMAGE = np.random.default_rng(4).integers(0, 256, (64, 80, 3), dtype=np.uint8)
METHODS = [dict(type='LoRA', rank=2), dict(type='BiasTuning')]


def tuned_checkpoints(cfg: Config, folder: Path, base: dict[str, Any] | None) -> list[str]:
    """Files of a whole checkpoint and of its delta, as a training would leave them."""
    model = build_model(cfg)
    model.init_weights()
    if base is None:
        checkpoint = str(folder / 'base.pth')
        torch.save(dict(state_dict=model.state_dict()), checkpoint)
        base = dict(checkpoint=checkpoint)
    frozen, told = frozen_names(model), notes(model, base)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    classes = cfg.test_dataloader.dataset.metainfo
    whole = dict(meta=dict(dataset_meta=dict(classes)), state_dict=model.state_dict())
    base_hash = hash_of(whole['state_dict'], frozen)
    delta = make_delta(whole, frozen, base=base, base_hash=base_hash, backbones=told)
    files = [str(folder / 'whole.pth'), str(folder / 'delta.pth')]
    for content, file in zip((whole, delta), files):
        torch.save(content, file)
    return files


def detections(sample: Any) -> list[torch.Tensor]:
    found = sample.pred_instances
    assert len(found.scores) > 0
    return [found.bboxes, found.scores, found.labels, torch.as_tensor(found.masks)]


def assert_all_equal(results: list[list[torch.Tensor]]) -> None:
    first, *others = results
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_detection(tiny_config: Path, tmp_path: Path) -> None:
    """The base is what the encoder was pre-trained to."""
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    cfg = Config.fromfile(tiny_config)
    weights = tmp_path / 'encoder.pth'
    write_weights(tiny_config, weights, seed=5)
    cfg.model.backbone.encoder.pretrained = str(weights)
    cfg.model.backbone.tuning = METHODS
    whole, delta = tuned_checkpoints(
        cfg, tmp_path, dict(pretrained={'backbone.encoder': str(weights)})
    )
    results = []
    for file in (whole, delta):
        predictor = Predictor(cfg, file)
        results.append(detections(predictor.predict(predictor.prepare_array(IMAGE))))
        plain = inferencer_config(cfg)
        inferencer = DetInferencer(plain, file, device='cpu', show_progress=False)
        (sample,) = inferencer(IMAGE, return_datasamples=True)['predictions']
        results.append(detections(sample))
        model = init_detector(plain, file, device='cpu')
        results.append(detections(inference_detector(model, IMAGE)))
    assert_all_equal(results)

    write_weights(tiny_config, weights, seed=6)
    with pytest.raises(WeightsError, match=r'for other base weights .*encoder\.pth'):
        init_detector(inferencer_config(cfg), delta, device='cpu')


def test_segmentation(tmp_path: Path) -> None:
    """The base is a checkpoint of the whole model; the backbone is one of the toolbox."""
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    path = tmp_path / 'tiny_seg.py'
    path.write_text(CONFIG.format(root=ROOT, classes=CLASSES))
    cfg = Config.fromfile(path)
    resnet = dict(type='mmseg.ResNetV1c', depth=18, base_channels=8, stem_channels=8)
    cfg.model.backbone = dict(type='TunedBackbone', backbone=resnet, tuning=METHODS)
    cfg.model.decode_head.in_channels = 8
    whole, delta = tuned_checkpoints(cfg, tmp_path, None)
    results = []
    for file in (whole, delta):
        predictor = Predictor(cfg, file)
        results.append([predictor.predict(predictor.prepare_array(IMAGE)).seg_logits.data])
        plain = inferencer_config(cfg)
        inferencer = MMSegInferencer(
            plain, file, device='cpu', show_progress=False, classes=CLASSES, palette=[[0] * 3] * 3
        )
        sample = inferencer(IMAGE, return_datasamples=True)
        results.append([sample.seg_logits.data])
        model = init_model(plain, file, device='cpu')
        results.append([inference_model(model, IMAGE).seg_logits.data])
    assert_all_equal(results)

    (tmp_path / 'base.pth').unlink()
    with pytest.raises(WeightsError, match=r'the delta needs its base weights .*base\.pth'):
        init_model(inferencer_config(cfg), delta, device='cpu')


def test_load_state_dict_completes_a_delta(tmp_path: Path) -> None:
    """Strictly, in PyTorch alone, whatever the model calls its backbone."""
    cfg = dict(type='TimmStages', model_name='resnet18', channels=(8, 8, 16, 16), stem_width=8)
    cfg = dict(type='TunedBackbone', backbone=dict(cfg, layers=(1, 1, 1, 1)), tuning=METHODS)
    torch.manual_seed(1)
    model = torch.nn.ModuleDict(dict(trunk=MODELS.build(cfg), head=torch.nn.Linear(2, 2)))
    base = tmp_path / 'base.pth'
    torch.save(model.state_dict(), base)
    frozen, told = frozen_names(model), notes(model, dict(checkpoint=str(base)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    whole = dict(state_dict=model.state_dict())
    delta = make_delta(whole, frozen, base=dict(checkpoint=str(base)), base_hash='', backbones=told)
    torch.save(delta, tmp_path / 'delta.pth')
    state = torch.load(tmp_path / 'delta.pth', weights_only=True)['state_dict']
    assert not set(frozen) & state.keys()
    other = torch.nn.ModuleDict(dict(trunk=MODELS.build(cfg), head=torch.nn.Linear(2, 2)))
    assert not torch.equal(other['trunk'].model.conv1.weight, model['trunk'].model.conv1.weight)
    other.load_state_dict(state)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, whole['state_dict'][name]), name
