"""The original's segmentation BEiT, for which no figures exist: against a plain forward pass.

The adapter's modules and the order of things are those of the golden figures (`seg_vit`,
`det_beit`); what they leave open is written out here from the original's parameters: the CLS token
that goes through the blocks and past the adapter, and the relative-position bias with its rows for
CLS, looked up pair by pair.
"""

from __future__ import annotations

import pytest
import torch
from original_figures import relative_error
from torch.nn import functional as F

from vitadapter_dense.adapter.geometry import Geometry, Level, flatten_maps, resample, split_maps
from vitadapter_dense.backbones import ViTAdapter

DIM, HEADS, SIDE = 32, 2, 4
SPANS = [[0, 0], [1, 1], [2, 2], [3, 3]]


def build(**overrides):
    encoder = dict(
        type='TimmViT',
        model_name='beit_base_patch16_224',
        **dict(img_size=16 * SIDE, embed_dim=DIM, depth=4, num_heads=HEADS, init_values=1e-6),
        **dict(window_pad='input', keep_prefix_tokens=True),
    )
    options = dict(conv_inplane=4, deform_num_heads=2, deform_ratio=0.5, injector_init=1e-6)
    return ViTAdapter(encoder, SPANS, vit_feature='per_stage', **options, **overrides)


def originals(model):
    """A random state dict in the original's names, with the buffers that its classes have."""
    state_dict = {}
    for name, tensor in model.state_dict().items():
        value = torch.randn(tensor.shape) * 0.3
        if 'running_var' in name or 'num_batches' in name:
            value = value.abs() + 0.5
        state_dict[name.removeprefix('encoder.')] = value.to(tensor.dtype)
    for block in range(4):
        index = torch.zeros(SIDE**2 + 1, SIDE**2 + 1, dtype=torch.long)
        state_dict[f'blocks.{block}.attn.relative_position_index'] = index
    return state_dict


def bias(table):
    """The relative-position bias of a square map behind a CLS token, pair by pair."""
    cells = [(row, column) for row in range(SIDE) for column in range(SIDE)]
    width = 2 * SIDE - 1
    rows = []
    for query in [None, *cells]:
        row = []
        for key in [None, *cells]:
            if query is None and key is None:
                place = -1
            elif query is None:
                place = -3
            elif key is None:
                place = -2
            else:
                down, right = (q - k + SIDE - 1 for q, k in zip(query, key, strict=True))
                place = down * width + right
            row.append(table[place])
        rows.append(torch.stack(row))
    return torch.stack(rows).permute(2, 0, 1)  # (M, N, N)


def run_block(x, state_dict, block):
    weights = {
        name.removeprefix(f'blocks.{block}.'): tensor
        for name, tensor in state_dict.items()
        if name.startswith(f'blocks.{block}.')
    }
    attn = {k.removeprefix('attn.'): v for k, v in weights.items() if k.startswith('attn.')}

    def norm(x, name):
        return F.layer_norm(x, (DIM,), weights[f'{name}.weight'], weights[f'{name}.bias'], 1e-6)

    bias_of_all = torch.cat([attn['q_bias'], 0 * attn['q_bias'], attn['v_bias']])
    qkv = norm(x, 'norm1') @ attn['qkv.weight'].t() + bias_of_all
    q, k, v = qkv.view(len(x), -1, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
    logits = q @ k.transpose(-2, -1) * (DIM // HEADS) ** -0.5
    logits = logits + bias(attn['relative_position_bias_table'])
    out = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    x = x + weights['gamma_1'] * (out @ attn['proj.weight'].t() + attn['proj.bias'])
    hidden = norm(x, 'norm2') @ weights['mlp.fc1.weight'].t() + weights['mlp.fc1.bias']
    out = F.gelu(hidden) @ weights['mlp.fc2.weight'].t() + weights['mlp.fc2.bias']
    return x + weights['gamma_2'] * out


def plain_forward(model, state_dict, images):
    """Adapter modules of `model`, the ViT written out."""
    strides = [Level.of_image(*images.shape[-2:], stride) for stride in (4, 8, 16, 32)]
    tokens = strides[2]
    geometry = Geometry.of(tokens, strides[1:], images)
    c1, *pyramid = model.spm(images)
    levels = zip(pyramid, model.level_embed, strict=True)
    pyramid = flatten_maps([c + embed[:, None, None] for c, embed in levels])
    weight, offset = (state_dict[f'patch_embed.proj.{name}'] for name in ('weight', 'bias'))
    x = F.conv2d(images, weight, offset, stride=16).flatten(2).transpose(1, 2)
    cls = state_dict['cls_token'].expand(len(images), -1, -1)
    maps = []
    for number, interaction in enumerate(model.interactions):
        x = interaction.injector(x, pyramid, geometry)
        both = run_block(torch.cat([cls, x], dim=1), state_dict, number)
        cls, x = both[:, :1], both[:, 1:]
        for extractor in (interaction.extractor, *(interaction.extra_extractors or ())):
            pyramid = extractor(pyramid, x, geometry)
        maps.append(x.transpose(1, 2).unflatten(2, (SIDE, SIDE)))
    c2, c3, c4 = split_maps(pyramid, strides[1:])
    sums = [
        c + resample(vit_map, tokens, level)
        for c, vit_map, level in zip([c1 + model.up(c2), c2, c3, c4], maps, strides, strict=True)
    ]
    norms = (model.norm1, model.norm2, model.norm3, model.norm4)
    return [norm(c) for norm, c in zip(norms, sums, strict=True)]


@pytest.mark.parametrize('with_cp', [False, True])
def test_outputs_and_gradients_of_the_segmentation_beit(with_cp):
    model = build(with_cp=with_cp).eval()
    model.encoder.with_cp = with_cp
    state_dict = originals(model)
    model.load_state_dict(state_dict, strict=True)  # as it is, buffers of pairs included
    images = torch.randn(2, 3, 16 * SIDE, 16 * SIDE, requires_grad=True)
    outputs = model(images)
    sum(output.square().mean() for output in outputs).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    of_images, images.grad = images.grad, None
    model.zero_grad()

    in_blocks = ('blocks.', 'cls_token', 'patch_embed.')
    leaves = {
        name: tensor.requires_grad_()
        for name, tensor in state_dict.items()
        if name.startswith(in_blocks) and tensor.is_floating_point()
    }
    expected = plain_forward(model, state_dict, images)
    for output, reference in zip(outputs, expected, strict=True):
        assert relative_error(output, reference.detach()) < 1e-5
    sum(output.square().mean() for output in expected).backward()
    assert relative_error(of_images, images.grad) < 1e-4
    for name, gradient in gradients.items():
        leaf = leaves.get(name.removeprefix('encoder.'))
        wanted = model.get_parameter(name).grad if leaf is None else leaf.grad
        assert relative_error(gradient, wanted) < 1e-4, name
    assert {f'encoder.{name}' for name in leaves} <= gradients.keys()
