"""File names: legal identifiers, `{framework}_{backbone}_{size}[_...]`, and true."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from vitadapter_dense.encoders.image_statistics import find_other_statistics

# What a name says, and the types in the file. A new framework or backbone gets its line here.
FRAMEWORKS = {
    'mask_rcnn': 'MaskRCNN',
    'cascade_mask_rcnn': 'CascadeRCNN',
    'htc': 'HybridTaskCascade',
    'htc_pp': 'HybridTaskCascade',
    'atss': 'ATSS',
    'gfl': 'GFL',
    'sparse_rcnn': 'SparseRCNN',
    'dino': 'DINO',
    'deformable_detr': 'DeformableDETR',
    'upernet': 'EncoderDecoder',
    'fcn': 'EncoderDecoder',
    'mask2former': 'EncoderDecoder',
    'mask2former_objects': 'Mask2Former',  # of MMDetection: ..._instance, ..._panoptic
}
HEADS = {'upernet': 'UPerHead', 'fcn': 'FCNHead', 'mask2former': 'Mask2FormerHead'}
HEADS['mask2former_objects'] = 'Mask2FormerHead'
# What has no backbone in its name: a plain ViT, and the decoder that makes it what it is.
ON_PLAIN_VIT = {
    'pmt': ('PlainViT', 'PlainMaskDecoder'),
    'eomt': ('OpenViT', 'EncoderOnlyDecoder'),
}
BACKBONES = {'vitadapter': 'ViTAdapter', 'liteadapter': 'LiteAdapter', 'vit': 'SimplePyramid'}
BACKBONES |= {'vitprior': 'PriorPyramid'}
WIDTHS = {'t': 192, 's': 384, 'b': 768, 'l': 1024, '7b': 4096}
NAME = re.compile(
    r'(?P<framework>[a-z0-9_]+?)_(?P<backbone>(vit|lite)[a-z]*)_(?P<size>xs|7b|[tsblg])(_|$)'
)


def test_every_file_name_is_an_identifier(configs_root):
    names = [path.stem for path in configs_root.rglob('*.py')]
    bad = [name for name in names if not name.isidentifier() or keyword.iskeyword(name)]
    assert names
    assert not bad


def test_name_says_what_the_file_holds(config, read_config):
    kind, size, *rest = Path(config).stem.split('_')
    if kind in ON_PLAIN_VIT:
        assert_mask_head(read_config(config).model, kind, size, rest)
        return
    match = NAME.match(Path(config).stem)
    assert match, f'{config} is not named {{framework}}_{{backbone}}_{{size}}[_...]'
    model = read_config(config).model
    objects = re.search('_(instance|panoptic)$', Path(config).stem)
    framework = 'mask2former_objects' if objects else match['framework']
    if Path(config).stem.endswith('_memory'):
        assert model.type == 'PromptMemoryDETR'
        assert ('dn_cfg' in model) == (framework == 'dino')
    else:
        assert model.type == FRAMEWORKS[framework]
    assert model.backbone.type == BACKBONES[match['backbone']]
    head = model.get('panoptic_head') or model.get('decode_head')
    if framework in HEADS:
        assert head.type.removeprefix('Stepwise') == HEADS[framework]
    if objects:
        assert model.test_cfg.panoptic_on == (objects[1] == 'panoptic')
    neck = model.get('neck') or head
    widths = set((neck[0] if isinstance(neck, list) else neck).in_channels)
    assert len(widths) == 1
    assert match['size'] not in WIDTHS or widths == {WIDTHS[match['size']]}


def assert_mask_head(model, kind, size, rest):
    head = model.get('decode_head') or model.panoptic_head
    assert (model.backbone.type, head.decoder.type) == ON_PLAIN_VIT[kind]
    frozen = kind == 'pmt'  # always; the shapes' names don't say it
    assert model.backbone.encoder.get('frozen', False) == frozen
    assert size == 'xs' or frozen == ('frozen' in rest)
    widths = {head.decoder.width} if kind == 'eomt' else set(head.decoder.in_channels)
    assert size not in WIDTHS or widths == {WIDTHS[size]}
    objects = {'instance', 'panoptic'} & set(rest)
    assert (model.type == 'Mask2Former') == bool(objects)
    if objects:
        assert model.test_cfg.panoptic_on == ('panoptic' in objects)


def test_names_of_coco_configs_are_the_promised_ones(configs_root):
    sizes = 'tsbl'
    expected = {f'mask_rcnn_vitadapter_{size}' for size in sizes}
    expected |= {f'mask_rcnn_vitadapter_{size}_1x' for size in sizes}
    expected |= {f'mask_rcnn_vit_{size}' for size in 'tsb'}
    expected |= {f'cascade_mask_rcnn_vitadapter_{size}' for size in 'sb'}
    expected |= {'htc_vitadapter_s', 'deformable_detr_vitadapter_s'}
    expected |= {f'{kind}_vitadapter_s' for kind in ('atss', 'gfl', 'sparse_rcnn')}
    expected |= {f'htc_pp_vitadapter_l_{weights}' for weights in ('augreg', 'beit', 'beitv2')}
    expected |= {f'dino_vitadapter_{size}' for size in 'sbl'}
    assert expected <= {path.stem for path in (configs_root / 'coco').glob('*.py')}


def test_bases_are_our_own(configs_root):
    """A toolbox's own configuration (`mmdet::...`) is not there in every installation."""
    for path in configs_root.rglob('*.py'):
        assert not re.search(r"'mm\w+::", path.read_text()), path


def test_variables_of_the_bases_arrive_in_the_parts(read_config):
    """`_base_` variables are copies: what a file reads from them is what it shows."""
    cfg = read_config('coco/mask_rcnn_vitadapter_s.py')
    assert cfg.train_dataloader.dataset.data_root == cfg.data_root
    assert cfg.val_evaluator.ann_file.startswith(cfg.data_root)


def test_encoder_of_the_page_is_one_base_and_its_config(configs_root, tmp_path):
    """`docs/encoders.md`, "Add an encoder": both files as they stand there."""
    page = (configs_root.parent / 'docs' / 'encoders.md').read_text()
    section = page.partition('## Add an encoder')[2].partition('\n## ')[0]
    base, leaf = re.findall(r'```python\n(.*?)```', section, flags=re.DOTALL)
    (tmp_path / 'clip.py').write_text(base.replace('..', str(configs_root / '_base_')))
    leaf = leaf.replace('../_base_/encoders', str(tmp_path))
    path = tmp_path / 'upernet_vitadapter_b_clip.py'
    path.write_text(leaf.replace('../_base_', str(configs_root / '_base_')))
    cfg = Config.fromfile(path)
    assert not find_other_statistics(cfg)
    deit = Config.fromfile(configs_root / 'ade20k' / 'upernet_vitadapter_b.py')
    deit.model.backbone.encoder.model_name = 'vit_base_patch16_clip_224.openai'
    del deit.model.backbone.encoder.init_values  # CLIP has no layer scale
    assert cfg.model.backbone == deit.model.backbone
    with torch.device('meta'):
        assert MODELS.build(cfg.model.backbone).encoder.embed_dim == 768


def test_config_of_the_readme_can_be_read(configs_root, tmp_path):
    text = (configs_root / 'coco' / 'README.md').read_text()
    (block,) = re.findall(r'```python\n(.*?)```', text, flags=re.DOTALL)
    path = tmp_path / 'mask_rcnn_vitadapter_s_mine.py'
    path.write_text(block.replace('../_base_', str(configs_root / '_base_')))
    model = Config.fromfile(path).model
    assert model.backbone.encoder.with_cp is True
    assert model.backbone.encoder.model_name == 'deit_small_patch16_224.fb_in1k'
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 3
    assert model.roi_head.bbox_head.type == 'Shared2FCBBoxHead'
