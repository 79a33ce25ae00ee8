"""The configurations of docs/custom_dataset.md are short and do what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tiny_detection import ROOT, losses_by_iteration, run_tool, write_split
from tiny_segmentation import write_images

SMALL_SEGMENTOR = [
    'model.backbone.encoder.pretrained=False',
    'model.decode_head.channels=16',
    'model.auxiliary_head.channels=16',
    'model.data_preprocessor.size=(64,64)',
    'model.test_cfg.crop_size=(64,64)',
    'model.test_cfg.stride=(43,43)',
    'train_dataloader.dataset.pipeline.2.scale=(80,64)',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'train_dataloader.num_workers=0',
    'val_dataloader.dataset.pipeline.1.scale=(80,64)',
    'val_dataloader.num_workers=0',
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.logger.interval=1',
    'log_processor.window_size=1',
]
SMALL_DETECTOR = [
    'model.backbone.encoder.pretrained=False',
    'train_dataloader.dataset.pipeline.2.scale=(80,64)',
    'train_dataloader.dataset.filter_cfg.min_size=1',
    'train_dataloader.num_workers=0',
    'val_dataloader.dataset.pipeline.1.scale=(80,64)',
    'val_dataloader.num_workers=0',
    'train_cfg.max_epochs=1',
    'default_hooks.logger.interval=1',
    'log_processor.window_size=1',
]


def read_page() -> dict[str, str]:
    """File name -> configuration, of every Python block on the page."""
    text = (ROOT / 'docs' / 'custom_dataset.md').read_text()
    return dict(re.findall(r'`configs/mine/(\w+\.py)`:\n\n```python\n(.*?)```', text, re.DOTALL))


def write_config(name: str, folder: Path) -> Path:
    text = read_page()[name].replace("'../", f"'{ROOT}/configs/")
    config = folder / name
    config.write_text(text.replace("'data/mine/'", f"'{folder}/data/'"))
    return config


def lay_out_maps(folder: Path) -> None:
    """Images and maps as the page draws them."""
    write_images(folder / 'all', 4)
    for kind, suffix in (('images', 'jpg'), ('maps', 'png')):
        for split, numbers in (('train', (0, 1, 2)), ('val', (3,))):
            target = folder / 'data' / kind / split
            target.mkdir(parents=True)
            for number in numbers:
                (folder / 'all' / kind / f'{number}.{suffix}').rename(target / f'{number}.{suffix}')


def lay_out_coco(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 2)):
        write_split(folder / 'data', split, count, generator)
        annotations = folder / 'data' / 'annotations'
        (annotations / f'instances_{split}.json').rename(annotations / f'{split}.json')


def test_configurations_have_at_most_25_lines() -> None:
    lines = {name: len(text.splitlines()) for name, text in read_page().items()}
    assert set(lines) == {'segments.py', 'boxes.py'}
    assert max(lines.values()) <= 25


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'lay_out', 'options', 'steps', 'metric'),
    [
        ('segments.py', lay_out_maps, SMALL_SEGMENTOR, 2, 'mIoU'),
        ('boxes.py', lay_out_coco, SMALL_DETECTOR, 2, 'coco/bbox_mAP'),
    ],
)
def test_page_from_files_to_metrics(tmp_path, name, lay_out, options, steps, metric) -> None:
    lay_out(tmp_path)
    config, work_dir = write_config(name, tmp_path), tmp_path / 'work'
    plot = ['--out', tmp_path / 'dataset.png', '--workers', 1]
    status, printed = run_tool('dataset/check_dataset.py', config, *plot)
    assert status == 0, printed
    run_tool('train.py', config, '--work-dir', work_dir, '--cfg-options', *options)
    losses = losses_by_iteration(work_dir)
    assert len(losses) == steps
    assert np.isfinite(list(losses.values())).all()
    logged = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
    assert metric in logged
