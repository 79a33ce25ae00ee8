"""Weights of encoders in their authors' formats: what a file holds, and whether it is consistent.

timm knows the names of most (MAE, DINO, DINOv2, CLIP, ...); what is here is what it lacks: Google's
``.npz`` read without running code, the resampling of patches as ViT-Adapter did it for DINOv2, and
errors that name what is wrong with a file.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vitadapter_dense.checkpoints.checked_loading import WeightsError

Format = Literal['augreg', 'adapter', 'baseline', 'clip', 'beit', 'dinov2', 'eva', 'vit']
_BLOCK = re.compile(r'(?:^|\.)blocks\.(\d+)\.(.+)$')
# By which a block of a family is known, asked in this order
_MARKS: dict[Format, tuple[str, ...]] = {
    'beit': ('attn.relative_position_bias_table',),
    'eva': ('mlp.fc1_g.weight', 'mlp.w1.weight', 'gamma_1'),
    'dinov2': ('ls1.gamma',),
}
_CLIP = re.compile(r'^(module\.)?visual\.(transformer\.resblocks|class_embedding)')
# What a backbone of the original has around its ViT
_MODEL_MARKS: dict[Format, re.Pattern[str]] = {
    'adapter': re.compile(r'^(backbone\.)?(spm\.|interactions\.|level_embed$)'),
    'baseline': re.compile(r'^(backbone\.)?(up1|fpn1)\.'),
}
_AUGREG_PREFIX = 'opt/target/'
_AUGREG_BLOCK = re.compile(r'^Transformer/encoderblock_(\d+)/(.+)$')
_AUGREG_NAMES = {
    'LayerNorm_0/scale': 'norm1.weight',
    'LayerNorm_0/bias': 'norm1.bias',
    'LayerNorm_2/scale': 'norm2.weight',
    'LayerNorm_2/bias': 'norm2.bias',
    'MlpBlock_3/Dense_0/kernel': 'mlp.fc1.weight',
    'MlpBlock_3/Dense_0/bias': 'mlp.fc1.bias',
    'MlpBlock_3/Dense_1/kernel': 'mlp.fc2.weight',
    'MlpBlock_3/Dense_1/bias': 'mlp.fc2.bias',
    'MultiHeadDotProductAttention_1/out/kernel': 'attn.proj.weight',
    'MultiHeadDotProductAttention_1/out/bias': 'attn.proj.bias',
}
_AUGREG_STEM = {
    'embedding/kernel': 'patch_embed.proj.weight',
    'embedding/bias': 'patch_embed.proj.bias',
    'cls': 'cls_token',
    'Transformer/posembed_input/pos_embedding': 'pos_embed',
    'Transformer/encoder_norm/scale': 'norm.weight',
    'Transformer/encoder_norm/bias': 'norm.bias',
    'head/kernel': 'head.weight',
    'head/bias': 'head.bias',
    'pre_logits/kernel': 'pre_logits.fc.weight',
    'pre_logits/bias': 'pre_logits.fc.bias',
}


def without_momentum(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder itself of a MoCo v3 checkpoint, which holds its momentum encoder too."""
    if not any(name.startswith('base_encoder.') for name in state_dict):
        return dict(state_dict)
    return {
        name.removeprefix('base_encoder.'): tensor
        for name, tensor in state_dict.items()
        if name.startswith('base_encoder.')
    }


def without_prefix(state_dict: Mapping[str, Tensor], wanted: Container[str]) -> dict[str, Tensor]:
    """The encoder of a file in which it is a part: ``backbone.``, ``model.``, ``visual.trunk.``.

    Self-distillation (DINO, DINOv2: with its head) and training frameworks write such files.

    Args:
        state_dict: tensors by name.
        wanted: names of the encoder.

    Returns:
        what stands under the one prefix that gives most of the wanted names, without it; all as it
        is if none gives more than there are, or two give equally many.
    """
    found: Counter[str] = Counter()
    for name in state_dict:
        parts = name.split('.')
        for place in range(len(parts)):
            if '.'.join(parts[place:]) in wanted:
                found['.'.join([*parts[:place], ''])] += 1
    best = found.most_common(2)
    if not best or found[''] == best[0][1] or (len(best) == 2 and best[0][1] == best[1][1]):
        return dict(state_dict)
    prefix = best[0][0]
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state_dict.items()
        if name.startswith(prefix)
    }


def format_of(state_dict: Mapping[str, Tensor]) -> Format:
    """What a state dict is: by its names, checked for being of one piece.

    Raises:
        WeightsError: unknown, or a mixture of architectures: blocks of several kinds or widths, or
            a block that is not there.
    """
    if 'embedding/kernel' in {name.removeprefix(_AUGREG_PREFIX) for name in state_dict}:
        return 'augreg'
    if any(_CLIP.match(name) for name in state_dict):
        return 'clip'
    blocks: dict[tuple[str, int], dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in state_dict.items():
        if match := _BLOCK.search(name):
            prefix = name[: match.start()]
            blocks[prefix, int(match[1])][match[2]] = tensor
    if not blocks:
        raise WeightsError(
            f'unknown format: no ViT blocks (blocks.0. ...) and no Google .npz among the names '
            f'{sorted(state_dict)[:6]} ...; convert the encoder or the whole model, by its '
            f'original names'
        )
    _check_one_piece(blocks)
    first = next(iter(blocks.values()))
    for kind, mark in _MODEL_MARKS.items():
        if any(mark.search(name) for name in state_dict):
            return kind
    if any('rel_pos_bias.' in name for name in state_dict):  # one table for all blocks
        return 'beit'
    return next((kind for kind, marks in _MARKS.items() if first.keys() & {*marks}), 'vit')


def _check_one_piece(blocks: Mapping[tuple[str, int], Mapping[str, Tensor]]) -> None:
    prefixes = {prefix for prefix, _ in blocks}
    if len(prefixes) > 1:
        raise WeightsError(
            f'a mixture of models: ViT blocks under {sorted(prefixes)}; save the one that you want'
        )
    numbers = sorted(number for _, number in blocks)
    if numbers != list(range(len(numbers))):
        lacking = sorted(set(range(numbers[-1])) - set(numbers))
        raise WeightsError(f'the blocks {lacking} are not in the file; it is incomplete')
    (_, first), *others = blocks.items()
    for (_, number), block in others:
        odd = {name for name in first.keys() ^ block.keys() if 'relative_position' not in name}
        if odd:
            raise WeightsError(
                f'a mixture of architectures: block {number} and block 0 differ in {sorted(odd)}'
            )
        for name in sorted(first.keys() & block.keys()):
            if block[name].shape != first[name].shape and 'relative_position' not in name:
                raise WeightsError(
                    f'a mixture of architectures: blocks.{number}.{name} is '
                    f'{tuple(block[name].shape)}, blocks.0.{name} is {tuple(first[name].shape)}'
                )


def from_augreg(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Google's names and layouts (flax) -> timm's.

    Args:
        arrays: of a ``.npz`` of AugReg (https://arxiv.org/abs/2106.10270) or the original ViT.

    Raises:
        WeightsError: an array that is not known, or one that a block lacks.
    """
    state_dict, projections = {}, defaultdict(dict)
    for full_name, array in arrays.items():
        name = full_name.removeprefix(_AUGREG_PREFIX)
        if match := _AUGREG_BLOCK.match(name):
            part = match[2]
            if projection := re.match(r'MultiHeadDotProductAttention_1/(query|key|value)/', part):
                kind = 'weight' if part.endswith('kernel') else 'bias'
                projections[f'blocks.{match[1]}.attn.qkv.{kind}'][projection[1]] = array
                continue
            ours = f'blocks.{match[1]}.{_AUGREG_NAMES.get(part)}'
            if part not in _AUGREG_NAMES:
                raise WeightsError(f'unknown array {name!r} in the .npz')
        elif name in _AUGREG_STEM:
            ours = _AUGREG_STEM[name]
        else:
            raise WeightsError(f'unknown array {name!r} in the .npz')
        if name == 'embedding/kernel':
            array = array.permute(3, 2, 0, 1)  # (C, 3, P, P)
        elif name.endswith('kernel'):
            array = array.flatten(0, -2).t()
        state_dict[ours] = array.contiguous()
    for name, parts in projections.items():
        if len(parts) < 3:
            raise WeightsError(f'{name} is incomplete in the .npz: only {sorted(parts)}')
        tensors = [parts[kind] for kind in ('query', 'key', 'value')]
        if name.endswith('weight'):
            tensors = [tensor.flatten(1).t() for tensor in tensors]  # (M*D, C)
        else:
            tensors = [tensor.flatten() for tensor in tensors]
        state_dict[name] = torch.cat(tensors)
    return state_dict


def resample_patches(weight: Tensor, patch_size: int) -> Tensor:
    """The patch embedding for another patch size, as ViT-Adapter made 16 of DINOv2's 14.

    Bilinear, without rescaling the sum (ViT-Adapter, detection/convert_14to16.py).

    Args:
        weight: ``(C, 3, P, P)``.
        patch_size: side of the patches wanted, in pixels.
    """
    size = (patch_size, patch_size)
    return F.interpolate(weight.float(), size=size, mode='bilinear', align_corners=False)
