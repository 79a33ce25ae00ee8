"""ViT-Adapter by size, with the settings of the configurations under `configs/_base_/encoders`."""

from __future__ import annotations

from typing import Any, Literal

from vitadapter_cli import load_config

ENCODERS = {'t': 'deit', 's': 'deit', 'b': 'deit', 'l': 'augreg'}  # the original's
Task = Literal['detection', 'segmentation']


def backbone_config(size: str, *, task: Task) -> dict[str, Any]:
    """The config of a `ViTAdapter`, whose pre-trained encoder `init_weights()` loads.

    Args:
        size: `t`, `s`, `b` or `l`.
        task: detection has windows in the encoder.

    Raises:
        ValueError: another size.
    """
    if size not in ENCODERS:
        raise ValueError(f'size {size!r}: choose one of {", ".join(ENCODERS)}')
    presets = load_config(f'configs/_base_/encoders/{ENCODERS[size]}.py').presets
    return presets[size][task].backbone.to_dict()
