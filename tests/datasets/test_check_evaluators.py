"""An evaluator of another file, or of what no prediction has, is found before a training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from coco_files import CLASSES, coco_content, write_coco
from mmengine.config import ConfigDict

from vitadapter_dense.datasets import DatasetError, check_config_datasets

BOXES = [[10, 10, 40, 30], [20, 30, 50, 40], [5, 5, 20, 20], [30, 20, 30, 30]]


@pytest.fixture
def cfg(tmp_path: Path) -> ConfigDict:
    """A configuration of a training and a validation set whose names and ids are alike."""
    sets = {
        split: write_coco(tmp_path, split, coco_content(BOXES[:number]), seed=number)
        for split, number in (('train', 4), ('val', 3), ('other', 3))
    }
    return ConfigDict(
        train_dataloader=dict(dataset=sets['train']),
        val_dataloader=dict(dataset=dict(sets['val'], test_mode=True)),
        val_evaluator=dict(type='CocoMetric', ann_file=f'{tmp_path}/val.json', metric='bbox'),
    )


def check(cfg: ConfigDict) -> list[str]:
    """The warnings."""
    return [text for level, text in check_config_datasets(cfg) if level >= 30]


def test_the_same_file_by_any_path_passes(cfg, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link.json').symlink_to(tmp_path / 'val.json')
    shutil.copy(tmp_path / 'val.json', tmp_path / 'copy.json')
    content = json.loads((tmp_path / 'val.json').read_text())
    (tmp_path / 'indented.json').write_text(json.dumps(content, indent=2))
    for name in ('val.json', './val.json', 'val/../val.json', 'link.json', 'copy.json'):
        cfg.val_evaluator.ann_file = name
        assert check(cfg) == []
    cfg.val_evaluator.ann_file = 'indented.json'
    cfg.val_evaluator = [dict(type='DumpDetResults', out_file_path='x.pkl'), cfg.val_evaluator]
    assert check(cfg) == []


@pytest.mark.parametrize(
    'change',
    [
        dict(ann_file='train.json'),
        dict(ann_file='other.json'),
        dict(ann_file='nowhere.json'),
        dict(ann_file='val.txt'),
        dict(ann_file='train.json', format_only=True, outfile_prefix='x'),
    ],
)
def test_another_file_is_refused(change, cfg, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'val.txt').write_text('0.jpg')
    content = json.loads((tmp_path / 'other.json').read_text())
    content['annotations'][0]['bbox'] = [1, 1, 40, 30]  # images and names are those of val
    (tmp_path / 'other.json').write_text(json.dumps(content))
    metric = ConfigDict(cfg.val_evaluator, **change)
    name = change['ann_file']
    for evaluator in (metric, [ConfigDict(cfg.val_evaluator), metric]):
        cfg.val_evaluator = evaluator
        with pytest.raises(DatasetError, match=rf'val_evaluator.*{name}.*val\.json'):
            check_config_datasets(cfg)
        test = dict(test_dataloader=cfg.val_dataloader, test_evaluator=evaluator)
        with pytest.raises(DatasetError, match=rf'test_evaluator.*{name}'):
            check_config_datasets(ConfigDict(test), loaders=('test',))
        check_config_datasets(cfg, loaders=('train',))
    cfg.val_evaluator = dict(metric, backend_args=dict(backend='petrel'))
    check_config_datasets(cfg)


def test_several_data_sets_need_several_metrics(cfg, tmp_path) -> None:
    sets = [cfg.val_dataloader.dataset, dict(cfg.val_dataloader.dataset, ann_file='train.json')]
    sets[1]['data_prefix'] = dict(img='train')
    cfg.pop('train_dataloader')
    cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=sets)
    with pytest.raises(DatasetError, match='MultiDatasetsEvaluator'):
        check_config_datasets(cfg)
    metrics = [dict(cfg.val_evaluator, ann_file=f'{tmp_path}/{s["ann_file"]}') for s in sets]
    cfg.val_evaluator = dict(type='MultiDatasetsEvaluator', metrics=metrics)
    check_config_datasets(cfg)
    cfg.val_evaluator.metrics.reverse()
    with pytest.raises(DatasetError, match=r'val_evaluator\.0\.ann_file is'):
        check_config_datasets(cfg)


def test_what_no_prediction_or_sample_has_is_refused(cfg, tmp_path) -> None:
    cfg.model = dict(type='FasterRCNN', roi_head=dict(bbox_head=dict(num_classes=2)))
    assert check(cfg) == []
    cfg.val_evaluator.metric = ['bbox', 'segm']
    with pytest.raises(DatasetError, match=r"val_evaluator\.metric has 'segm', .* no mask head"):
        check_config_datasets(cfg)
    cfg.model.roi_head.mask_head = dict(num_classes=2)
    assert check(cfg) == []
    mask_rcnn, cfg.model = cfg.model, dict(type='DINO', bbox_head=dict(num_classes=2))
    with pytest.raises(DatasetError, match='no mask head'):
        check_config_datasets(cfg)
    cfg.model = dict(type='Mask2Former', test_cfg=dict(panoptic_on=False, instance_on=False))
    with pytest.raises(DatasetError, match=r'no instances \(model.test_cfg.instance_on\)'):
        check_config_datasets(cfg)
    cfg.model = mask_rcnn
    content = json.loads((tmp_path / 'val.json').read_text())
    del content['annotations'][1]['segmentation']
    (tmp_path / 'val.json').write_text(json.dumps(content))
    with pytest.raises(DatasetError, match='annotation 2 has no segmentation'):
        check_config_datasets(cfg)
    cfg.val_evaluator.metric = 'bbox'
    cfg.val_evaluator.ann_file = None
    cfg.val_dataloader.dataset.pipeline = [dict(type='PackDetInputs', meta_keys=['img_id'])]
    with pytest.raises(DatasetError, match=r"has no ann_file.*val\.json.*'instances'"):
        check_config_datasets(cfg)
    cfg.val_dataloader.dataset.pipeline[0].meta_keys = ['img_id', 'instances']
    assert check(cfg) == []


def test_images_without_annotations_can_be_formatted_and_not_evaluated(cfg, tmp_path) -> None:
    content = json.loads((tmp_path / 'val.json').read_text())
    del content['annotations']
    (tmp_path / 'val.json').write_text(json.dumps(content))
    with pytest.raises(DatasetError, match='no annotations.*format_only=True'):
        check_config_datasets(cfg)
    cfg.val_evaluator.update(format_only=True, outfile_prefix='x')
    assert check(cfg) == []


def test_images_that_are_left_out_of_validation_are_said(cfg) -> None:
    cfg.val_dataloader.dataset.indices = 2
    (said,) = check(cfg)
    assert 'indices=2' in said
    assert 'count as missed' in said
    del cfg.val_dataloader.dataset['indices'], cfg.val_dataloader.dataset['test_mode']
    cfg.val_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True)
    (said,) = check(cfg)
    assert 'test_mode=True' in said


def test_texts_as_category_ids_cannot_be_evaluated_by_class(cfg, tmp_path) -> None:
    content = coco_content(BOXES)
    for item in (*content['annotations'], *content['categories']):
        key = 'category_id' if 'bbox' in item else 'id'
        item[key] = f'c{item[key]}'
    write_coco(tmp_path, 'val', content)
    check_config_datasets(cfg)
    cfg.val_evaluator.classwise = True
    with pytest.raises(DatasetError, match='texts.*classwise=True'):
        check_config_datasets(cfg)


def test_labels_mean_the_same_in_training_and_validation(cfg, tmp_path) -> None:
    content = json.loads((tmp_path / 'val.json').read_text())
    content['categories'].reverse()
    (tmp_path / 'val.json').write_text(json.dumps(content))
    cfg.val_dataloader.dataset.metainfo.classes = CLASSES[::-1]
    with pytest.raises(DatasetError, match=r"classes of val \('dog', 'cat'\) are others than"):
        check_config_datasets(cfg)


def segmentation(tmp_path: Path, **changes: Any) -> ConfigDict:
    """A configuration of maps; a name with two underscores leads into it."""
    np, cv2 = pytest.importorskip('numpy'), pytest.importorskip('cv2')
    sets = {}
    for split, value in (('train', 90), ('val', 91)):
        for folder, shape, level in (('images', (8, 8, 3), value), ('maps', (8, 8), 1)):
            (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
            name = f'{tmp_path}/{folder}/{split}/0.png'
            cv2.imwrite(name, np.full(shape, level, np.uint8))
        sets[split] = dict(
            type='BaseSegDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'maps/{split}'),
            metainfo=dict(classes=CLASSES),
            img_suffix='.png',
        )
    cfg = ConfigDict(
        default_scope='mmseg',
        model=dict(decode_head=dict(type='FCNHead', num_classes=2)),
        train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=sets['train'])),
        val_dataloader=dict(dataset=sets['val']),
        val_evaluator=dict(type='IoUMetric'),
    )
    for path, value in changes.items():
        *parents, last = path.split('__')
        part = cfg
        for key in parents:
            part = part[key]
        part[last] = value
    return cfg


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({}, None),
        (dict(val_evaluator__ignore_index=0), r'val_evaluator\.ignore_index=0.*255 everywhere'),
        (dict(model__decode_head__ignore_index=0), 'the label that is ignored differs'),
        (dict(val_evaluator__reduce_zero_label=True), 'which no metric reads'),
        (
            dict(val_dataloader__dataset__reduce_zero_label=True),
            'train has reduce_zero_label=False and val has True',
        ),
        (
            dict(val_dataloader__dataset__metainfo=dict(classes=(*CLASSES, 'bird'))),
            "classes of val .'cat', 'dog', 'bird'. are others",
        ),
        (dict(model__decode_head__num_classes=19), 'num_classes is 19, but the data set has 2'),
    ],
)
def test_maps_heads_and_metric_agree(changes, message, tmp_path) -> None:
    pytest.importorskip('mmseg')
    cfg = segmentation(tmp_path, **changes)
    if message is None:
        assert check(cfg) == []
    else:
        with pytest.raises(DatasetError, match=message):
            check_config_datasets(cfg)
