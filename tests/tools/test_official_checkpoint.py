"""`tools/convert/official_checkpoint.py`: every format, every key reported, bad input refused."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from vitadapter_dense.backbones import SimplePyramid, ViTAdapter
from vitadapter_dense.checkpoints import WeightsError, load_checked
from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.encoders.foreign_weights import format_of, from_augreg, resample_patches

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tools' / 'convert'))

import official_checkpoint as tool  # noqa: E402

DATA = ROOT / 'tests' / 'data'
SMALL = dict(img_size=64, embed_dim=32, depth=2, num_heads=2)


def original(name):
    with np.load(DATA / f'{name}.npz') as archive:
        return {
            key.removeprefix('sd/'): torch.from_numpy(archive[key])
            for key in archive.files
            if key.startswith('sd/')
        }


def as_detector(state_dict):
    """A whole detector around a backbone of the original, with a Mask2Former head."""
    whole = {f'backbone.{name}': tensor for name, tensor in state_dict.items()}
    for layer, parts in {
        'decode_head.transformer_decoder.layers.0': ['attentions.0.attn', 'attentions.1.attn'],
        'decode_head.pixel_decoder.encoder.layers.1': ['attentions.0.value_proj'],
    }.items():
        for part in (*parts, 'ffns.0.layers.1', 'norms.0'):
            whole[f'{layer}.{part}.bias'] = torch.randn(3)
    return whole


def write_augreg(path, vit):
    """The reverse of the conversion: timm's weights in Google's names and layouts."""
    width, heads = vit.embed_dim, vit.blocks[0].attn.num_heads
    arrays = {
        'embedding/kernel': vit.patch_embed.proj.weight.permute(2, 3, 1, 0),
        'embedding/bias': vit.patch_embed.proj.bias,
        'cls': vit.cls_token,
        'Transformer/posembed_input/pos_embedding': vit.pos_embed,
        'Transformer/encoder_norm/scale': vit.norm.weight,
        'Transformer/encoder_norm/bias': vit.norm.bias,
        'head/kernel': vit.head.weight.t(),
        'head/bias': vit.head.bias,
    }
    for index, block in enumerate(vit.blocks):
        prefix = f'Transformer/encoderblock_{index}'
        attention = f'{prefix}/MultiHeadDotProductAttention_1'
        for number, norm in ((0, block.norm1), (2, block.norm2)):
            arrays[f'{prefix}/LayerNorm_{number}/scale'] = norm.weight
            arrays[f'{prefix}/LayerNorm_{number}/bias'] = norm.bias
        for name, weight, bias in zip(
            ('query', 'key', 'value'),
            block.attn.qkv.weight.chunk(3),
            block.attn.qkv.bias.chunk(3),
            strict=True,
        ):
            arrays[f'{attention}/{name}/kernel'] = weight.t().reshape(width, heads, -1)
            arrays[f'{attention}/{name}/bias'] = bias.reshape(heads, -1)
        arrays[f'{attention}/out/kernel'] = block.attn.proj.weight.t().reshape(heads, -1, width)
        arrays[f'{attention}/out/bias'] = block.attn.proj.bias
        for number, linear in enumerate((block.mlp.fc1, block.mlp.fc2)):
            arrays[f'{prefix}/MlpBlock_3/Dense_{number}/kernel'] = linear.weight.t()
            arrays[f'{prefix}/MlpBlock_3/Dense_{number}/bias'] = linear.bias
    np.savez(path, **{name: array.detach().numpy() for name, array in arrays.items()})


@pytest.fixture
def small_timm(monkeypatch):
    """`timm.create_model` at toy size, so that the names of real models may be used."""
    create = timm.create_model

    def make(name, **options):
        return create(name, **{**SMALL, **options})

    monkeypatch.setattr(timm, 'create_model', make)
    return make


@pytest.mark.parametrize('case', ['det_vit_layerscale', 'det_beit'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_whole_model_in_one_command(case, suffix, tmp_path, capsys):
    source, out = tmp_path / 'theirs.pth', tmp_path / f'ours{suffix}'
    whole = as_detector(original(case))
    torch.save(dict(state_dict=whole, meta={}), source)
    assert tool.main([str(source), str(out)]) == 0
    ours = load_file(out) if suffix == '.safetensors' else torch.load(out)['state_dict']
    names = set(ours)
    assert {
        'backbone.level_embed',
        'backbone.encoder.blocks.0.attn.qkv.weight',
        'decode_head.transformer_decoder.layers.0.cross_attn.attn.bias',
        'decode_head.transformer_decoder.layers.0.self_attn.attn.bias',
        'decode_head.transformer_decoder.layers.0.ffn.layers.1.bias',
        'decode_head.transformer_decoder.layers.0.norms.0.bias',
        'decode_head.pixel_decoder.encoder.layers.1.self_attn.value_proj.bias',
        'decode_head.pixel_decoder.encoder.layers.1.ffn.layers.1.bias',
    } <= names
    assert not any('relative_position_index' in name for name in names)
    lines = capsys.readouterr().out.splitlines()
    reported = {line.split()[1] for line in lines if line.startswith(('kept', 'renamed', 'resam'))}
    left_out = {line.split()[2] for line in lines if line.startswith('left out')}
    assert reported | left_out == set(whole)
    assert all('relative_position_index' in name for name in left_out)


def test_the_checked_loader_converts_in_the_same_way():
    """`load_from` an original checkpoint: backbone and heads."""
    state_dict = original('det_vit_layerscale')
    encoder = dict(type='TimmViT', model_name='vit_tiny_patch16_224', embed_dim=24, depth=4)
    options = dict(conv_inplane=4, deform_num_heads=3, deform_ratio=0.5)

    class Detector(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = ViTAdapter(dict(encoder, num_heads=3, init_values=1.0), **options)
            layer = torch.nn.ModuleDict(
                dict(cross_attn=torch.nn.ModuleDict(dict(attn=torch.nn.LayerNorm(3))))
            )
            decoder = torch.nn.ModuleDict(dict(layers=torch.nn.ModuleList([layer])))
            self.decode_head = torch.nn.ModuleDict(dict(transformer_decoder=decoder))

    model, whole = Detector(), as_detector(state_dict)
    report = load_checked(model, whole)
    assert report.missing == ('decode_head.transformer_decoder.layers.0.cross_attn.attn.weight',)
    attention = model.decode_head['transformer_decoder']['layers'][0]['cross_attn']['attn']
    theirs = whole['decode_head.transformer_decoder.layers.0.attentions.0.attn.bias']
    assert torch.equal(attention.bias, theirs)
    assert torch.equal(model.backbone.encoder.blocks[3].ls1.gamma, state_dict['blocks.3.gamma1'])


def test_google_npz(tmp_path, small_timm, capsys):
    vit = small_timm('vit_tiny_patch16_224', num_classes=5)
    source, out = tmp_path / 'Ti_16.npz', tmp_path / 'ours.pth'
    write_augreg(source, vit)
    assert tool.main([str(source), str(out), '--encoder', 'vit_tiny_patch16_224']) == 0
    ours, theirs = torch.load(out)['state_dict'], vit.state_dict()
    for name in theirs.keys() - {'head.weight', 'head.bias'}:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)
    encoder = TimmViT('vit_tiny_patch16_224', pretrained=str(source))  # the same without the tool
    encoder.init_weights()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in encoder.state_dict().items())


def test_the_report_tells_what_became_of_every_array(tmp_path, small_timm, capsys):
    vit = small_timm('vit_tiny_patch16_224', num_classes=5)
    write_augreg(tmp_path / 'Ti_16.npz', vit)
    command = [str(tmp_path / 'Ti_16.npz'), str(tmp_path / 'ours.pth')]
    tool.main([*command, '--encoder', 'vit_tiny_patch16_224'])
    lines = capsys.readouterr().out.splitlines()
    attention = 'Transformer/encoderblock_1/MultiHeadDotProductAttention_1'
    for line in (
        'augreg, 40 tensors',
        f'joined     {attention}/query/kernel (32, 2, 16) -> blocks.1.attn.qkv.weight (96, 32)',
        f'reshaped   {attention}/out/kernel (2, 16, 32) -> blocks.1.attn.proj.weight (32, 32)',
        'renamed    cls (1, 1, 32) -> cls_token (1, 1, 32)',
        'keys: 20 renamed, 8 reshaped, 12 joined',
    ):
        assert any(line in printed for printed in lines), line
    assert not any(line.startswith(('left out', 'made')) for line in lines)


@pytest.mark.parametrize('model_name', ['vit_tiny_patch16_224', 'beit_base_patch16_224'])
def test_a_whole_baseline(model_name, tmp_path, capsys):
    """`ViTBaseline` and `BEiTBaseline`, which have nothing of an adapter in them."""
    options = dict(SMALL, depth=4, keep_prefix_tokens=model_name.startswith('beit'))
    ours = SimplePyramid(dict(type='TimmViT', model_name=model_name, **options)).state_dict()
    beit = model_name.startswith('beit')
    theirs = {
        re.sub(r'^up(\d)', r'fpn\1' if beit else r'up\1', name.removeprefix('encoder.')): tensor
        for name, tensor in ours.items()
    }
    whole = {f'backbone.{name}': tensor for name, tensor in theirs.items()}
    torch.save(dict(state_dict=whole | {'neck.weight': torch.ones(2)}), tmp_path / 'theirs.pth')
    tool.main([str(tmp_path / 'theirs.pth'), str(tmp_path / 'ours.pth')])
    assert 'theirs.pth: baseline' in capsys.readouterr().out
    converted = torch.load(tmp_path / 'ours.pth')['state_dict']
    assert converted.keys() == {f'backbone.{name}' for name in ours} | {'neck.weight'}
    assert all(torch.equal(converted[f'backbone.{name}'], value) for name, value in ours.items())


def test_the_image_encoder_of_clip(tmp_path, small_timm):
    vit = small_timm('vit_base_patch16_clip_224')
    names = (
        ('patch_embed.proj', 'conv1'),
        ('blocks.', 'transformer.resblocks.'),
        ('norm_pre.', 'ln_pre.'),
        ('attn.qkv.', 'attn.in_proj_'),
        ('attn.proj', 'attn.out_proj'),
        ('mlp.fc1', 'mlp.c_fc'),
        ('mlp.fc2', 'mlp.c_proj'),
        ('norm1.', 'ln_1.'),
        ('norm2.', 'ln_2.'),
        ('norm.', 'ln_post.'),
    )
    theirs = {'transformer.resblocks.0.ln_1.weight': torch.ones(8), 'logit_scale': torch.ones(())}
    for name, tensor in vit.state_dict().items():
        for ours, other in names:
            name = name.replace(ours, other)
        if name in ('cls_token', 'pos_embed'):
            name = dict(cls_token='class_embedding', pos_embed='positional_embedding')[name]
            tensor = tensor[0] if 'pos' in name else tensor[0, 0]
        theirs[f'visual.{name}'] = tensor
    torch.save(theirs, tmp_path / 'clip.pth')
    encoder = TimmViT('vit_base_patch16_clip_224', tmp_path / 'clip.pth', keep_prefix_tokens=True)
    encoder.init_weights()
    wanted = vit.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in encoder.state_dict().items())


def test_dinov2_from_14_to_16(tmp_path, small_timm):
    vit = small_timm('vit_small_patch14_dinov2', img_size=56)
    state_dict = dict(vit.state_dict(), mask_token=torch.zeros(1, 32))
    source, out = tmp_path / 'dinov2.pth', tmp_path / 'dinov2_16.pth'
    torch.save(state_dict, source)
    arguments = [str(source), str(out), '--encoder', 'vit_small_patch14_dinov2']
    assert tool.main([*arguments, '--patch-size', '16']) == 0
    ours = torch.load(out)['state_dict']
    expected = resample_patches(vit.patch_embed.proj.weight, 16)
    assert ours['patch_embed.proj.weight'].shape == (32, 3, 16, 16)
    torch.testing.assert_close(ours['patch_embed.proj.weight'], expected)
    assert torch.equal(ours['pos_embed'], vit.pos_embed)  # a 4 x 4 grid stays one
    assert 'mask_token' not in ours
    at_16 = TimmViT('vit_small_patch14_dinov2', str(out), patch_size=16, img_size=64)
    at_16.init_weights()
    torch.testing.assert_close(at_16.patch_embed.proj.weight.detach(), expected)
    assert torch.equal(at_16.pos_embed, vit.pos_embed)


def test_beit_with_a_shared_table_and_another_size(tmp_path, small_timm):
    vit = small_timm('beit_base_patch16_224')
    state_dict = dict(vit.state_dict())
    for index in range(2):
        del state_dict[f'blocks.{index}.attn.relative_position_bias_table']
    state_dict['rel_pos_bias.relative_position_bias_table'] = torch.randn(7 * 7 + 3, 2)
    state_dict['rel_pos_bias.relative_position_index'] = torch.zeros(17, 17, dtype=torch.long)
    torch.save(dict(model=dict(state_dict, mask_token=torch.zeros(1))), tmp_path / 'beit.pth')
    assert format_of(vit.state_dict()) == 'beit'
    encoder = TimmViT('beit_base_patch16_224', tmp_path / 'beit.pth', img_size=96)
    encoder.init_weights()
    tables = [block.attn.relative_position_bias_table for block in encoder.blocks]
    assert tables[0].shape == (121, 2)
    assert torch.equal(tables[0], tables[1])
    assert tables[0].abs().sum() > 0


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def test_bad_input_is_one_clear_line(tmp_path, small_timm):
    good = small_timm('vit_tiny_patch16_224').state_dict()
    other = small_timm('vit_tiny_patch16_224', embed_dim=48).state_dict()
    mixed = {**good, **{name: tensor for name, tensor in other.items() if 'blocks.1.' in name}}
    beit = small_timm('beit_base_patch16_224').state_dict()
    marker = tmp_path / 'ran'
    cases = {
        'unknown format': {'layer1.0.conv1.weight': torch.zeros(1)},
        'a mixture of architectures: blocks.1.attn.proj.bias is .48,': mixed,
        'a mixture of architectures: block 1 and block 0 differ': {
            **good,
            **{name: tensor for name, tensor in beit.items() if 'blocks.1.' in name},
        },
        r'the blocks \[0\] are not in the file': {
            name: tensor for name, tensor in good.items() if 'blocks.0.' not in name
        },
        r'width \(embed_dim\) 48, .* has 32': other,
        'depth 3, .* has 2': small_timm('vit_tiny_patch16_224', depth=3).state_dict(),
        'is refused.*could run code': {**good, 'evil': Malicious(marker)},
    }
    out = tmp_path / 'out.pth'
    for message, content in cases.items():
        torch.save(content, tmp_path / 'bad.pth')
        with pytest.raises(SystemExit, match=f'(?s)error: .*{message}'):
            tool.main([str(tmp_path / 'bad.pth'), str(out), '--encoder', 'vit_tiny_patch16_224'])
    torch.save(good, tmp_path / 'bad.pth')
    with pytest.raises(SystemExit, match='holds an encoder .vit.; name it with --encoder'):
        tool.main([str(tmp_path / 'bad.pth'), str(out)])
    whole = (tmp_path / 'bad.pth').read_bytes()
    (tmp_path / 'bad.pth').write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / 'cut.npz', cls=np.zeros(999))
    (tmp_path / 'cut.npz').write_bytes((tmp_path / 'cut.npz').read_bytes()[:500])
    np.savez(tmp_path / 'pickled.npz', cls=np.array([Malicious(marker)]))
    for name, message in (
        ('bad.pth', 'cannot be read'),
        ('cut.npz', 'cannot be read'),
        ('pickled.npz', 'is refused'),
    ):
        with pytest.raises(SystemExit, match=message):
            tool.main([str(tmp_path / name), str(out)])
    assert not out.exists()
    assert not marker.exists()


def test_arrays_that_are_not_known_or_lack_are_named():
    with pytest.raises(WeightsError, match=r"unknown array 'Transformer/x'"):
        from_augreg({'Transformer/x': torch.zeros(1)})
    key = 'Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/bias'
    with pytest.raises(WeightsError, match=r"qkv\.bias is incomplete .* only \['query'\]"):
        from_augreg({key: torch.zeros(2, 2)})
