"""Uni-Perceiver's image encoder (https://arxiv.org/abs/2112.01522) in timm's names.

Its layers are those of a plain ViT with layer scale. Around them differ the names, a norm after the
patch embedding (timm's ``pre_norm``), and where a constant is added: timm's patch embedding has no
bias before such a norm, so that the bias and the position in time of a picture, the first of eight,
go into the position embedding, one row a patch. There is no CLS token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_POSITIONS = re.compile(r'^(.*?)(visual|video)_embed\.\w+\.spatial_pos_embed\.weight$')
_LAYER = re.compile(r'^(?:fused_encoder\.)?layers\.(\d+)\.(.+)$')
_PARTS = (
    (re.compile(r'^self_attn\.in_proj[._]'), 'attn.qkv.'),
    (re.compile(r'^self_attn\.out_proj\.'), 'attn.proj.'),
    (re.compile(r'^linear([12])\.'), r'mlp.fc\1.'),
    (re.compile(r'^gamma_([12])$'), r'ls\1.gamma'),
)
# of the language side and the heads of a pre-trained file
_LEFT_OUT = ('loss_prepare', 'token_embed')


def in_plain_vit_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with Uni-Perceiver's encoder, alone or in a model; any other passes unchanged.

    Args:
        state_dict: in the names of its authors' file, or of ViT-Adapter's conversion of it.
    """
    matches = [match for match in map(_POSITIONS.match, state_dict) if match]
    if not matches:
        return dict(state_dict)
    (found,) = matches
    prefix, embed = found[1], f'{found[1]}{found[2]}_embed.'
    ours, constants = {}, {}
    for name, tensor in state_dict.items():
        layer = _LAYER.match(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if layer:
            part = layer[2]
            for pattern, replacement in _PARTS:
                part = pattern.sub(replacement, part)
            ours[f'{prefix}blocks.{layer[1]}.{part}'] = tensor
        elif name.startswith(embed):
            constants[name.removeprefix(embed)] = tensor
        elif not any(part in name for part in _LEFT_OUT):
            ours[name] = tensor
    for name, tensor in constants.items():
        if name.startswith('embeddings_norm.'):
            ours[f'{prefix}norm_pre.{name.removeprefix("embeddings_norm.")}'] = tensor
        elif name in ('patch_embed.proj.weight', 'embeddings.weight'):
            ours[f'{prefix}patch_embed.proj.weight'] = tensor
    ends = {name.rpartition('.')[0].rpartition('.')[2]: t for name, t in constants.items()}
    bias = constants.get('patch_embed.proj.bias', constants.get('embeddings.bias'))
    rows = ends['spatial_pos_embed'] + ends['temporal_pos_embed'][0] + bias
    ours[f'{prefix}pos_embed'] = rows[None]
    return ours
