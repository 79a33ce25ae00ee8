"""Every model builds, with as many parameters as the original's; the optimiser's groups."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from vitadapter_dense.reports.flops import count_flops

# Parameters of the released backbones; AugReg-L has 577 position rows, so 389,120 more than at 224.
BACKBONE_PARAMETERS = {
    't': 7_966_640,
    's': 27_503_888,
    'b': 99_495_392,
    'l': 326_584_512 + (577 - 197) * 1024,
}
# The original's plain baseline, in millions.
BASELINE_PARAMETERS = {'t': 5.973, 's': 23.448, 'b': 92.903, 'l': 316.333}

READMES = ['coco', 'coco_ablation', 'ade20k', 'cityscapes', 'coco_stuff10k', 'coco_stuff164k']
READMES += ['pascal_context', 'potsdam']


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_builds_without_touching_network_or_memory(config, build_model, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('building a model asked the hub for weights')

    monkeypatch.setattr('timm.models._hub.download_cached_file', refuse)
    monkeypatch.setattr('timm.models._hub.load_state_dict_from_hf', refuse)
    model = build_model(config)
    real = {name for name, parameter in model.named_parameters() if not parameter.is_meta}
    assert real <= {'level_embed'}, 'of DETRs: MMDetection makes it by torch.Tensor(...)'


def test_windows_and_interactions_fit_the_depth(config, build_model, read_config):
    encoder = build_model(config).backbone.encoder
    windows = read_config(config).model.backbone.encoder.get('window_sizes')
    assert windows is None or len(windows) == encoder.depth
    # the original's BEiT: a window of 56 is the whole of most images
    assert windows is None or windows[-1] in (None, 56), 'the last block must see the whole image'
    assert windows is None or not config.startswith('ade20k'), 'segmentation has no windows'


@pytest.mark.parametrize('schedule', ['', '_1x'])
@pytest.mark.parametrize('size', BACKBONE_PARAMETERS)
def test_backbone_has_the_released_number_of_parameters(size, schedule, build_model):
    backbone = build_model(f'coco/mask_rcnn_vitadapter_{size}{schedule}.py').backbone
    assert count(backbone) == BACKBONE_PARAMETERS[size]


@pytest.mark.parametrize('size', BASELINE_PARAMETERS)
def test_baseline_has_the_original_number_of_parameters(size, build_model):
    backbone = build_model(f'coco/mask_rcnn_vit_{size}.py').backbone
    assert round(count(backbone) / 1e6, 3) == BASELINE_PARAMETERS[size]


def groups_by_name(model, cfg):
    """name -> (lr, weight decay) of every parameter, from the config's optimiser."""
    init_default_scope(cfg.default_scope)
    wrapper = dict(cfg.optim_wrapper, type='OptimWrapper')
    wrapper.pop('dtype', None)
    wrapper.pop('loss_scale', None)
    optimizer = build_optim_wrapper(model, wrapper).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in optimizer.param_groups:
        for parameter in group['params']:
            name = names[id(parameter)]
            assert name not in found, f'{name} is in two groups'
            found[name] = (group['lr'], group['weight_decay'])
    assert set(found) == set(names.values())
    return found


def test_custom_keys_decay_what_the_original_decays(build_model, read_config):
    name = 'coco/mask_rcnn_vitadapter_s.py'
    groups = groups_by_name(build_model(name), read_config(name))
    spared = {key for key, (_, decay) in groups.items() if decay == 0}
    assert spared == {key for key in groups if re.search('level_embed|pos_embed|norm|bias', key)}
    assert groups['backbone.spm.stem.1.weight'] == (1e-4, 0.05)
    assert groups['backbone.interactions.0.injector.gamma'] == (1e-4, 0.05)
    assert 'backbone.encoder.pos_embed' in spared
    assert {lr for lr, _ in groups.values()} == {1e-4}


def test_layer_decay_lowers_the_rate_block_by_block(build_model, read_config):
    name = 'coco/mask_rcnn_vitadapter_l.py'
    groups = groups_by_name(build_model(name), read_config(name))
    rates = [groups[f'backbone.encoder.blocks.{i}.attn.qkv.weight'][0] for i in range(24)]
    assert rates == pytest.approx([1e-4 * 0.8 ** (24 - i) for i in range(24)])
    assert groups['backbone.encoder.patch_embed.proj.weight'][0] == pytest.approx(1e-4 * 0.8**25)
    for key in ('backbone.spm.fc1.weight', 'neck.lateral_convs.0.conv.weight'):
        assert groups[key][0] == pytest.approx(1e-4)


@pytest.mark.parametrize('folder', READMES)
def test_readme_shows_the_measured_number_of_parameters(
    folder, configs_root, names_in, build_model
):
    text = (configs_root / folder / 'README.md').read_text()
    lines = [line for line in text.splitlines() if line.startswith('|')]
    column = [cell.strip() for cell in lines[0].split('|')].index('measured #Param')
    shown = {}
    for row in (line.split('|') for line in lines if line.startswith('| [')):
        name = re.search(r'\[(\w+)\]', row[1])[1]
        shown[name] = float(row[column].strip().removesuffix(' M'))
    files = names_in(folder)
    assert set(shown) == files
    measured = {name: round(count(build_model(f'{folder}/{name}.py')) / 1e6, 2) for name in files}
    assert shown == measured


def test_ablation_adds_up_to_the_published_numbers(configs_root, build_model):
    """Parameters of every row, and what other attention costs more, of ViT-Adapter's tables."""
    text = (configs_root / 'coco_ablation' / 'README.md').read_text()
    rows = re.findall(r'^\| \[(\w+)\].*?\| ([\d.]+) M \| ([\d.]+) M', text, flags=re.MULTILINE)
    assert len(rows) == 8
    assert all(float(measured) == pytest.approx(float(said), abs=0.1) for _, said, measured in rows)

    images = torch.zeros(1, 3, 800, 1280, device='meta')
    cost = {}
    for kind, name in dict(
        deformable='coco/mask_rcnn_vitadapter_s_1x',
        **{kind: f'coco_ablation/mask_rcnn_vitadapter_s_{kind}_1x' for kind in ('global', 'cswin')},
    ).items():
        backbone = build_model(f'{name}.py').backbone
        cost[kind] = count_flops(backbone, partial(backbone, images))[''] / 2e9
    assert cost['global'] - cost['deformable'] == pytest.approx(1080 - 403, abs=1.5)
    assert cost['cswin'] - cost['deformable'] == pytest.approx(456 - 403, abs=1.5)
