"""Whole checkpoints of the original, and encoders in their authors' formats, in our names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vitadapter_dense.backbones.official_names import backbone_name, head_name
from vitadapter_dense.encoders.foreign_weights import resample_patches
from vitadapter_dense.encoders.hub import in_timm_names
from vitadapter_dense.encoders.uniperceiver_names import in_plain_vit_names

_PATCHES = 'patch_embed.proj.weight'


def convert_model(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of an original detector, segmentor or backbone -> ours, without derived indices."""
    state_dict = in_plain_vit_names(state_dict)
    whole = any(name.startswith('backbone.') for name in state_dict)
    prefix = 'backbone.' if whole else ''
    ours = {}
    for name, tensor in state_dict.items():
        if name.endswith('relative_position_index'):
            continue
        in_backbone = name.startswith(prefix)
        renamed = (
            prefix + backbone_name(name.removeprefix(prefix)) if in_backbone else head_name(name)
        )
        ours[renamed] = tensor
    return ours


def sizes_of(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    """Patch and image size that an encoder's weights are made for, as far as they tell."""
    patches, positions = state_dict.get(_PATCHES), state_dict.get('pos_embed')
    if patches is None or patches.ndim != 4:
        return {}
    sizes = dict(patch_size=patches.shape[-1])
    if positions is not None and positions.ndim == 3:
        side = round((positions.shape[1] - positions.shape[1] % 2) ** 0.5)
        sizes['img_size'] = side * patches.shape[-1]
    return sizes


def convert_encoder(
    state_dict: Mapping[str, Tensor], model_name: str, source: str, patch_size: int | None
) -> dict[str, Tensor]:
    """Weights of an encoder in its authors' names -> timm's names, as `encoder.pretrained` reads.

    Args:
        state_dict: of the file.
        model_name: timm's name of the encoder.
        source: the file, for messages.
        patch_size: resample the patch embedding to it, as ViT-Adapter did for DINOv2.
    """
    ours_size = sizes_of(state_dict)
    ours_size.pop('patch_size', None)  # positions stay as they are, patches become timm's
    ours = in_timm_names(model_name, state_dict, source, ours_size)
    if patch_size is not None and _PATCHES in ours and ours[_PATCHES].shape[-1] != patch_size:
        ours[_PATCHES] = resample_patches(ours[_PATCHES], patch_size)
    return ours
