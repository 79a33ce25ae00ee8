"""Uni-Perceiver's weights in a plain ViT: the same tokens as by its own equations."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.backbones.official_checkpoint import convert_model
from vitadapter_dense.encoders.hub import in_timm_names

DIM, HEADS, DEPTH, SIDE = 24, 2, 4, 3
NAME = 'vit_tiny_patch16_224'


def authors_weights() -> dict[str, torch.Tensor]:
    """Random, in the names of ViT-Adapter's conversion."""
    shapes = {
        'visual_embed.patch_embed.proj.weight': (DIM, 3, 16, 16),
        'visual_embed.patch_embed.proj.bias': (DIM,),
        'visual_embed.patch_embed.spatial_pos_embed.weight': (SIDE**2, DIM),
        'visual_embed.patch_embed.temporal_pos_embed.weight': (8, DIM),
        'visual_embed.embeddings_norm.weight': (DIM,),
        'visual_embed.embeddings_norm.bias': (DIM,),
    }
    for layer in range(DEPTH):
        for part, outputs, inputs in (
            ('self_attn.in_proj', 3 * DIM, DIM),
            ('self_attn.out_proj', DIM, DIM),
            ('linear1', 4 * DIM, DIM),
            ('linear2', DIM, 4 * DIM),
        ):
            shapes[f'layers.{layer}.{part}.weight'] = (outputs, inputs)
            shapes[f'layers.{layer}.{part}.bias'] = (outputs,)
        for part in ('norm1.weight', 'norm1.bias', 'norm2.weight', 'norm2.bias'):
            shapes[f'layers.{layer}.{part}'] = (DIM,)
        shapes |= {f'layers.{layer}.gamma_{number}': (DIM,) for number in (1, 2)}
    return {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}


def by_its_equations(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'])

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (DIM,), weights[f'{name}.weight'], weights[f'{name}.bias'])

    embed = 'visual_embed.patch_embed'
    patches = F.conv2d(
        images, weights[f'{embed}.proj.weight'], weights[f'{embed}.proj.bias'], stride=16
    )
    x = patches.flatten(2).transpose(1, 2) + weights[f'{embed}.spatial_pos_embed.weight']
    x = norm('visual_embed.embeddings_norm', x + weights[f'{embed}.temporal_pos_embed.weight'][0])
    for layer in range(DEPTH):
        part = f'layers.{layer}'
        qkv = linear(f'{part}.self_attn.in_proj', norm(f'{part}.norm1', x))
        q, k, v = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in qkv.chunk(3, dim=-1))
        attended = ((q @ k.mT) * (DIM // HEADS) ** -0.5).softmax(-1) @ v
        attended = linear(f'{part}.self_attn.out_proj', attended.transpose(1, 2).flatten(2))
        x = x + weights[f'{part}.gamma_1'] * attended
        hidden = F.gelu(linear(f'{part}.linear1', norm(f'{part}.norm2', x)))
        x = x + weights[f'{part}.gamma_2'] * linear(f'{part}.linear2', hidden)
    return x


@pytest.mark.parametrize('way', ['whole', 'converted', 'encoder', 'raw'])
def test_tokens_are_those_of_its_own_equations(way):
    encoder = dict(
        type='TimmViT',
        model_name=NAME,
        img_size=16 * SIDE,
        embed_dim=DIM,
        num_heads=HEADS,
        depth=DEPTH,
        pre_norm=True,
        class_token=False,
        global_pool='avg',
        norm_eps=1e-5,
        init_values=1e-6,
    )
    model = ViTAdapter(encoder, deform_num_heads=2, conv_inplane=8, norm_eps=1e-5).eval()
    weights = authors_weights()
    around = {
        name: value for name, value in model.state_dict().items() if not name.startswith('encoder.')
    }
    if way == 'whole':
        model.load_state_dict(weights | around)
    elif way == 'converted':
        model.load_state_dict(convert_model(weights | around))
    else:
        given = weights
        if way == 'raw':  # its authors' own names, with parts of the language side
            given = {
                name.replace('layers.', 'fused_encoder.layers.')
                .replace('in_proj.', 'in_proj_')
                .replace('visual_embed.patch_embed.proj', 'video_embed.embeddings')
                .replace('visual_embed.patch_embed.', 'video_embed.embeddings_st_pos.')
                .replace('visual_embed.', 'video_embed.'): value
                for name, value in weights.items()
            } | {'token_embed.embeddings.weight': torch.randn(5, DIM)}
        model.encoder.load_state_dict(in_timm_names(NAME, given, 'a.pth'))
    images = torch.randn(2, 3, 16 * SIDE, 16 * SIDE)
    with torch.no_grad():
        found = model.encoder.run(model.encoder.embed(images), 0, DEPTH).x
        torch.testing.assert_close(found, by_its_equations(weights, images), rtol=1e-4, atol=1e-5)
