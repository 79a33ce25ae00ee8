"""State dicts in the naming of the original ViT-Adapter code, renamed while they are loaded.

The original's backbone *is* the ViT, ours *has* one: its ``blocks.0...`` is our
``encoder.blocks.0...``, and its layer scale ``gamma1``/``gamma2`` is timm's
``ls1.gamma``/``ls2.gamma``. The levels of its BEiT baseline are called ``fpn1``, ``fpn2``. Its
Mask2Former heads were written for MMDetection 2, whose transformer layers number what MMDetection 3
names.

MMEngine never calls a ``load_state_dict`` override, hence the pre-hook. The checked loader hands it
the whole state dict, heads included; ``load_state_dict`` itself shows it the backbone alone.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from vitadapter_dense.encoders.uniperceiver_names import in_plain_vit_names

_ENCODER_KEYS = ('patch_embed.', 'blocks.', 'pos_embed', 'cls_token', 'rel_pos_bias.')
_ENCODER_KEYS += ('norm_pre.',)
_LAYER_SCALE = re.compile(r'^(blocks\.\d+)\.gamma([12])$')
_BASELINE_LEVEL = re.compile(r'^fpn([1-4])\.')
# In a layer of Mask2Former's decoder cross-attention comes first; its pixel decoder has no other
# than self-attention.
_HEAD_NAMES = (
    (re.compile(r'(transformer_decoder\.layers\.\d+)\.attentions\.0\.'), r'\1.cross_attn.'),
    (re.compile(r'(transformer_decoder\.layers\.\d+)\.attentions\.1\.'), r'\1.self_attn.'),
    (re.compile(r'(pixel_decoder\.encoder\.layers\.\d+)\.attentions\.0\.'), r'\1.self_attn.'),
    (
        re.compile(r'((?:transformer_decoder|pixel_decoder\.encoder)\.layers\.\d+)\.ffns\.0\.'),
        r'\1.ffn.',
    ),
)


def backbone_name(name: str) -> str:
    """Our name of a backbone's parameter; one that is ours already stays.

    Args:
        name: relative to the backbone.
    """
    if name.startswith(_ENCODER_KEYS):
        return 'encoder.' + _LAYER_SCALE.sub(r'\1.ls\2.gamma', name)
    return _BASELINE_LEVEL.sub(r'up\1.', name)


def head_name(name: str) -> str:
    """The name in MMDetection 3 and MMSegmentation 1 of a head's parameter."""
    for pattern, replacement in _HEAD_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _taken(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """All that was in a state dict, which is empty after."""
    whole = dict(state_dict)
    state_dict.clear()
    return whole


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
    for key, tensor in in_plain_vit_names(_taken(state_dict)).items():
        state_dict[key] = tensor
    for key in list(state_dict):
        if key.startswith(prefix):
            name = prefix + backbone_name(key.removeprefix(prefix))
        else:
            name = head_name(key)
        if name != key:
            state_dict[name] = state_dict.pop(key)
