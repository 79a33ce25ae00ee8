"""Figures of the original ViT-Adapter code (`tests/data/*.npz`) and our model of the same
arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitadapter_dense.backbones import ViTAdapter

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
