"""A small transfer of generated shapes: single ones to learn from, and scenes that look otherwise.

A backbone is pre-trained to tell the single shapes, and then tuned on the scenes, see
:mod:`vitadapter_dense.training.tuning_transfer`.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vitadapter_dense.datasets.shapes_scene import render_scene


def shape_crops(count: int, seed: int, *, size: int) -> tuple[Tensor, Tensor]:
    """Pictures of single shapes ``(N, 3, size, size)`` uint8, and their classes."""
    pictures, labels, index = [], [], 0
    while len(pictures) < count:
        scene = render_scene(np.random.default_rng([seed, index]), height=160, width=160)
        index += 1
        for item in scene.objects:
            x, y, w, h = item.box
            if min(w, h) >= 16:
                picture = cv2.resize(scene.image[y : y + h, x : x + w], (size, size))
                pictures.append(picture)
                labels.append(item.label)
    stacked = np.stack(pictures[:count]).transpose(0, 3, 1, 2)
    return torch.from_numpy(stacked.copy()), torch.tensor(labels[:count])


def shifted_scenes(count: int, seed: int, *, size: int) -> tuple[Tensor, Tensor]:
    """Scenes ``(N, 3, size, size)`` uint8 of other colours, less contrast and noise, and their
    semantic maps ``(N, size, size)``."""
    pictures, maps = [], []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        scene = render_scene(rng, height=size, width=size)
        shifted = 255 - scene.image[..., [1, 2, 0]].astype(np.float32)
        shifted = 60 + 0.5 * shifted + rng.normal(0, 12, shifted.shape)
        pictures.append(shifted.clip(0, 255).astype(np.uint8))
        maps.append(scene.semantic_map().astype(np.int64))
    stacked = np.stack(pictures).transpose(0, 3, 1, 2)
    return torch.from_numpy(stacked.copy()), torch.from_numpy(np.stack(maps))
