"""Figures of the original ViT-Adapter code (`tests/data/*.npz`) and our model of the same
arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.backbones.official_names import rename_official_keys

DATA = Path(__file__).parent.parent / 'data'


def load(name: str) -> dict[str, Any]:
    """The arrays of a case as tensors, its arguments under ``cfg``."""
    with np.load(DATA / f'{name}.npz') as archive:
        case = {key: torch.from_numpy(archive[key]) for key in archive.files if key != 'cfg'}
        case['cfg'] = json.loads(str(archive['cfg']))
    return case


def part(case: dict[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    """The entries under a prefix (``sd/``, ``gradnorm/``)."""
    return {key.removeprefix(prefix): case[key] for key in case if key.startswith(prefix)}


def encoder_of(cfg: dict[str, Any]) -> dict[str, Any]:
    """Our encoder's config from the original's arguments."""
    encoder = dict(
        type='TimmViT',
        embed_dim=cfg['embed_dim'],
        depth=cfg['depth'],
        num_heads=cfg['num_heads'],
        window_sizes=cfg.get('window_size'),
    )
    if not cfg['type'].startswith('BEiT'):
        return dict(
            encoder,
            model_name='vit_tiny_patch16_224',
            img_size=cfg['pretrain_size'],
            init_values=1.0 if cfg['layer_scale'] else None,
        )
    return dict(
        encoder,
        model_name='beit_base_patch16_224',
        img_size=cfg['img_size'],
        init_values=cfg['init_values'],
        window_pad='input',
        keep_prefix_tokens=cfg['task'] == 'segmentation',
    )


def build(cfg: dict[str, Any], **overrides: Any) -> ViTAdapter:
    """Our model from the original's arguments."""
    adapter = {
        key: cfg[key]
        for key in (
            'interaction_indexes',
            'conv_inplane',
            'n_points',
            'deform_num_heads',
            'deform_ratio',
            'cffn_ratio',
        )
    }
    vit_feature = 'last' if cfg['task'] == 'detection' else 'per_stage'
    return ViTAdapter(
        **{'encoder': encoder_of(cfg), **adapter, 'vit_feature': vit_feature, **overrides}
    )


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.detach() - theirs).norm() / theirs.norm())


def check(model: ViTAdapter, case: dict[str, Any]) -> None:
    """Load the case's weights as they are; compare outputs, input and parameter gradients.

    Raises:
        AssertionError: when one of them deviates.
    """
    model.load_state_dict(part(case, 'sd/'), strict=True)
    model.eval()
    images = case['input'].requires_grad_()
    outputs = model(images)
    for index, output in enumerate(outputs):
        assert relative_error(output, case[f'out{index}']) < 1e-5
    sum((output**2).mean() for output in outputs).backward()
    assert relative_error(images.grad, case['grad_input']) < 1e-5

    expected = part(case, 'gradnorm/')
    rename_official_keys(model, expected, '')
    gradients = {name: parameter.grad.norm() for name, parameter in model.named_parameters()}
    assert gradients.keys() == expected.keys()
    for parameter, norm in expected.items():
        torch.testing.assert_close(gradients[parameter], norm.float(), rtol=1e-4, atol=1e-7)
