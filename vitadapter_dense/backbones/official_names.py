"""State dicts in the naming of the original ViT-Adapter code, renamed while they are loaded.

The original's backbone *is* the ViT, ours *has* one: its ``blocks.0...`` is our
``encoder.blocks.0...``, and its layer scale ``gamma1``/``gamma2`` is timm's
``ls1.gamma``/``ls2.gamma``. MMEngine never calls a ``load_state_dict`` override, hence the
pre-hook.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

_ENCODER_KEYS = ('patch_embed.', 'blocks.', 'pos_embed', 'cls_token')
_LAYER_SCALE = re.compile(r'^(blocks\.\d+)\.gamma([12])$')


def rename_official_keys(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any
) -> None:
    """A load-state-dict pre-hook for a backbone with a child ``encoder``; our own naming passes
    unchanged.

    Args:
        module: the backbone.
        state_dict: renamed in place.
        prefix: of the backbone's keys.
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name = key.removeprefix(prefix)
        if name.startswith(_ENCODER_KEYS):
            name = _LAYER_SCALE.sub(r'\1.ls\2.gamma', name)
            state_dict[f'{prefix}encoder.{name}'] = state_dict.pop(key)
