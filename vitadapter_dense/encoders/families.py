"""The families of plain ViTs that timm knows, and how one is made as an encoder.

``vit``: ``VisionTransformer`` (DeiT, AugReg, MAE, MoCo v3, CLIP, SigLIP, DINO, DINOv2, ...).
``beit``: ``Beit`` (BEiT, BEiT v2) with relative-position bias.
``eva``: ``Eva`` (EVA, EVA-02, DINOv3, Perception Encoder, ...), most with rotary positions.
"""

from __future__ import annotations

from typing import Any, Literal

import timm
from timm.models import model_entrypoint
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

Family = Literal['vit', 'beit', 'eva']
_CLASSES: dict[Family, type[nn.Module]] = {'vit': VisionTransformer, 'beit': Beit, 'eva': Eva}


def family_of(model_name: str) -> Family:
    """The family of a timm model, told from the module that defines it; ``'vit'`` for others."""
    module = model_entrypoint(model_name.split('.', 1)[0]).__module__.rpartition('.')[2]
    return module if module in ('beit', 'eva') else 'vit'


def is_plain_vit(model: nn.Module) -> bool:
    """Whether a timm model is of one of the families."""
    return isinstance(model, tuple(_CLASSES.values()))


def create_plain_vit(model_name: str, **timm_args: Any) -> nn.Module:
    """A plain ViT of timm with random weights and without its head.

    A ``Beit`` comes without relative-position bias, whose index timm stores once a block (1.9 GB at
    896 pixels in a large model); an ``Eva`` makes its rotary tables for any size.

    Args:
        model_name: timm's name.
        **timm_args: arguments of the timm model.

    Raises:
        TypeError: not a plain ViT.
        ValueError: one table shared by all blocks of a ``Beit``.
    """
    family = family_of(model_name)
    if family == 'beit':
        if timm_args.get('use_shared_rel_pos_bias'):
            raise ValueError(
                'use_shared_rel_pos_bias=True: each block has its own table here; leave it out, '
                'weights with a shared table are spread over the blocks while they are loaded'
            )
        timm_args['use_rel_pos_bias'] = False
    elif family == 'eva':
        timm_args['dynamic_img_size'] = True
    vit = timm.create_model(model_name, pretrained=False, num_classes=0, **timm_args)
    if not isinstance(vit, _CLASSES[family]) or not hasattr(vit.patch_embed, 'proj'):
        raise TypeError(
            f'{model_name!r} is a {type(vit).__name__}, not a plain ViT of timm '
            f'(VisionTransformer, Beit or Eva with a patch embedding); for hierarchical models use '
            f"type='TimmStages'"
        )
    return vit
