"""The text of a config for somebody's data, of at most 25 lines: what differs from ours."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vitadapter_cli import own_configs
from vitadapter_dense.command_line.run_size import RunSize
from vitadapter_dense.datasets.own_request import OwnData, Request

MAX_LINES = 25
_WIDTH = 100


def default_config(root: Path, task: str) -> Path:
    """Where the config goes if nobody says: `configs/mine`, named after the folder and the task."""
    name = re.sub(r'[^a-z0-9]+', '_', root.resolve().name.lower()).strip('_') or 'data'
    return Path('configs', 'mine', f'{name}_{task}.py')


def config_text(request: Request, data: OwnData, size: RunSize, path: Path) -> str:
    """The text of the config file at `path`."""
    makers = dict(segmentation=_segmentation, classification=_classification)
    return makers.get(request.task, _detection)(request, data, size, path)


def _head(request: Request, data: OwnData, base: str, path: Path) -> str:
    train, val = data.counts
    task = dict(detection='Boxes', instance='Boxes and masks', segmentation='Segments')
    task |= dict(classification='Classes')
    name = request.root.resolve().name.replace('\\', '/').replace('"', "'")
    root = str(request.root).rstrip('/') + '/'
    return (
        f'"""{task[request.task]} of {name} ({data.layout}): {train} + {val} images."""\n'
        f'_base_ = {[_base(base, path)]!r}\n'
        f'data_root = {root!r}\n'
        f'metainfo = dict({_classes(data.classes)})\n'
    )


def _detection(request: Request, data: OwnData, size: RunSize, path: Path) -> str:
    masks, number = request.task == 'instance', f'num_classes={len(data.classes)}'
    model = f'roi_head=dict(bbox_head=dict({number}), mask_head=dict({number}))'
    if not masks:
        model = f"type='FasterRCNN', roi_head=dict(bbox_head=dict({number}))"
    without = '' if masks else 'train_pipeline[1].with_mask = test_pipeline[2].with_mask = False\n'
    without_head = (
        '' if masks else "model['roi_head'].update(mask_head=None, mask_roi_extractor=None)\n"
    )
    smallest = min((min(one) for one in data.sizes), default=32)
    filtered = f'filter_cfg=dict(min_size={smallest}), ' if smallest < 32 else ''
    steps = [size.epochs * 2 // 3, size.epochs * 11 // 12]
    warmup = f"dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end={size.warmup})"
    falls = f'by_epoch=True, begin=0, end={size.epochs}, milestones={steps}, gamma=0.1'
    return (
        _head(request, data, f'coco/mask_rcnn_vitadapter_{size.model}_1x.py', path)
        + f'train = {_entries(data.train)}\n'
        f'val = {_entries(data.val)}\n'
        'train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline\n'
        f'train_pipeline[2].scale = test_pipeline[1].scale = ({_long(size.side)}, {size.side})\n'
        f'{without}'
        f'train.update(data_root=data_root, metainfo=metainfo, {filtered}pipeline=train_pipeline)\n'
        'val.update(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline)\n'
        f'{_loaders(size)}'
        f'val_evaluator = dict(ann_file=data_root + {data.val["ann_file"]!r}, '
        f'metric={["bbox", "segm"] if masks else "bbox"!r})\n'
        'test_evaluator = val_evaluator\n'
        f'model = dict({model})\n'
        f'{without_head}'
        f'{_rate(size)}'
        f'train_cfg = dict(max_epochs={size.epochs}, val_interval={size.interval})\n'
        f'default_hooks = dict(checkpoint=dict(interval={size.interval}))\n'
        f"step = dict(type='MultiStepLR', {falls})\n"
        f'param_scheduler = [{warmup}, step]\n'
    )


def _segmentation(request: Request, data: OwnData, size: RunSize, path: Path) -> str:
    side, number = size.side, f'num_classes={len(data.classes)}'
    prefix, of_train = data.train['data_prefix'], dict(data.common)
    of_train |= {key: value for key, value in data.train.items() if key != 'data_prefix'}
    of_val = {key: value for key, value in data.val.items() if value != data.train[key]}
    warmup = f"dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end={size.warmup})"
    falls = f'power=1.0, eta_min=0.0, by_epoch=False, begin=0, end={size.iterations}'
    return (
        _head(request, data, f'ade20k/upernet_vitadapter_{size.model}.py', path)
        + "train = dict(type='BaseSegDataset', data_root=data_root, metainfo=metainfo)\n"
        f'train.update({_arguments(of_train)})\n'
        f'train.update(data_prefix={_entries(prefix)})\n'
        'train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline\n'
        f'train_pipeline[2].scale = test_pipeline[1].scale = ({4 * side}, {side})\n'
        f'train_pipeline[3].crop_size = crop = ({side}, {side})\n'
        f'val = dict(train, pipeline=test_pipeline, {_arguments(of_val)})\n'
        'train.update(pipeline=train_pipeline)\n'
        f'{_loaders(size)}'
        f'model = dict(decode_head=dict({number}), auxiliary_head=dict({number}))\n'
        'model.update(data_preprocessor=dict(size=crop), '
        f'test_cfg=dict(crop_size=crop, stride=({side * 2 // 3}, {side * 2 // 3})))\n'
        f'{_rate(size)}'
        f'train_cfg = dict(max_iters={size.iterations}, val_interval={size.interval})\n'
        f'default_hooks = dict(checkpoint=dict(interval={size.interval}))\n'
        f"poly = dict(type='PolyLR', {falls})\n"
        f'param_scheduler = [{warmup}, poly]\n'
    )


def _classification(request: Request, data: OwnData, size: RunSize, path: Path) -> str:
    warm = f'by_epoch=False, begin=0, end={size.warmup}'
    falls = f'by_epoch=True, begin=0, end={size.epochs}, T_max={size.epochs}'
    return (
        _head(request, data, f'classification/classifier_vit_{size.model}.py', path)
        + f'train = {_entries(data.train)}\n'
        f'val = {_entries(data.val)}\n'
        "shared = dict(data_root=data_root, data_prefix=dict(img=''), metainfo=metainfo)\n"
        'train.update(shared)\n'
        'val.update(shared)\n'
        f'{_loaders(size)}'
        f'model = dict(head=dict(num_classes={len(data.classes)}))\n'
        f'{_rate(size)}'
        f'train_cfg = dict(max_epochs={size.epochs}, val_interval={size.interval})\n'
        f'default_hooks = dict(checkpoint=dict(interval={size.interval}))\n'
        f"warm_up = dict(type='LinearLR', start_factor=0.01, {warm})\n"
        f"cosine = dict(type='CosineAnnealingLR', {falls})\n"
        'param_scheduler = [warm_up, dict(cosine, convert_to_iter_based=True)]\n'
    )


def _loaders(size: RunSize) -> str:
    return (
        f'train_dataloader = dict(batch_size={size.batch}, num_workers={size.workers}, '
        'dataset=train)\n'
        f'val_dataloader = test_dataloader = dict(num_workers={size.workers}, dataset=val)\n'
    )


def _rate(size: RunSize) -> str:
    times = f'{size.rate_of_16:g} at 16 images a step, times sqrt({size.batch}/16)'
    return (
        f'optim_wrapper = dict(optimizer=dict(lr={size.rate:g}))  # {times}\n'
        f'auto_scale_lr = dict(base_batch_size={size.batch})\n'
    )


def _base(name: str, path: Path) -> str:
    """Of ours: relative within the checkout, so that it can be moved; else where it is now."""
    ours, folder = own_configs().resolve(), path.resolve().parent
    if ours.parent in (folder, *folder.parents):
        return os.path.relpath(ours / name, folder)
    return str(ours / name)


def _classes(names: tuple[str, ...]) -> str:
    """`classes=(...)`, on a line of their own where they are many."""
    listed = ', '.join(map(repr, names)) + (',' if len(names) == 1 else '')
    text = f'classes=({listed})'
    if len(text) + len('metainfo = dict()') <= _WIDTH:
        return text
    return f'classes=(\n    {listed.rstrip(",")},\n)'  # one line, however long


def _entries(entries: dict) -> str:
    return f'dict({_arguments(entries)})'


def _arguments(entries: dict) -> str:
    return ', '.join(
        f'{key}={_entries(value) if isinstance(value, dict) else repr(value)}'
        for key, value in entries.items()
    )


def _long(side: int) -> int:
    """The longer side's limit beside a shorter one, as COCO's 1333 x 800."""
    return round(side * 1333 / 800)
