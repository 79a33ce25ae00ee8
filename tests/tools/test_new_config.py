"""From a folder of data to a config, a training and its test; nothing is written over."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_detection import ROOT, run_tool

sys.path.append(str(ROOT / 'tests' / 'datasets'))
import own_layouts as lay

from vitadapter_dense.command_line.machine import Machine
from vitadapter_dense.command_line.own_config import MAX_LINES, config_text
from vitadapter_dense.command_line.run_size import fit_run
from vitadapter_dense.datasets.own_request import OwnData, Request

TOOL = 'dataset/new_config.py'
MACHINES = (Machine('', 2, 1), Machine('a GPU', 80, 16))
SMALL = [
    'model.backbone.encoder.pretrained=False',
    'model.backbone.encoder.depth=4',
    'model.backbone.encoder.embed_dim=48',
    'model.backbone.encoder.window_sizes=None',
    'model.neck.in_channels=[48,48,48,48]',
    'model.roi_head.bbox_head.fc_out_channels=32',
    'train_dataloader.dataset.pipeline.2.scale=(96,64)',
    'val_dataloader.dataset.pipeline.1.scale=(96,64)',
    'test_dataloader.dataset.pipeline.1.scale=(96,64)',
    'train_cfg.max_epochs=1',
]


def commands_in(printed: str) -> list[list[str]]:
    lines = printed.partition('Go on with:\n')[2].splitlines()
    return [shlex.split(line) for line in lines if line.startswith('  python ')]


@pytest.mark.parametrize('machine', MACHINES, ids=str)
@pytest.mark.parametrize('task', ['detection', 'instance', 'segmentation'])
@pytest.mark.parametrize(('number', 'classes'), [(1, 1), (700, 150), (200_000, 3)])
def test_configs_are_short_and_fit(
    tmp_path: Path, task: str, number: int, classes: int, machine: Machine
) -> None:
    maps = task == 'segmentation'
    names = tuple(f'class "{n}" of\'s' for n in range(classes))
    prefix = dict(img_path='images', seg_map_path='maps') if maps else dict(img='')
    parts = [dict(ann_file=f'{split}.json', data_prefix=prefix) for split in ('train', 'val')]
    common = dict(img_suffix='.JPG', reduce_zero_label=True) if maps else {}
    data = OwnData('X', names, *parts, (number, 1), [(200, 24)], Path('x'), common)
    size = fit_run(task, images=number, sizes=data.sizes, machine=machine)
    text = config_text(Request(tmp_path, task), data, size, tmp_path / 'x.py')
    (tmp_path / 'x.py').write_text(text)
    assert len(text.splitlines()) <= MAX_LINES
    cfg = Config.fromfile(tmp_path / 'x.py')
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert tuple(train.metainfo.classes) == tuple(val.metainfo.classes) == names
    assert (train.ann_file, val.ann_file) == ('train.json', 'val.json')
    assert (train.get('test_mode', False), val.test_mode) == (False, True)
    assert cfg.test_dataloader.dataset == val
    loop, last = cfg.train_cfg, cfg.param_scheduler[-1]
    length = loop.max_iters if maps else loop.max_epochs
    assert last.end == length
    assert all(0 < m < length for m in last.get('milestones', ()))
    warmup = cfg.param_scheduler[0].end
    assert 2 <= warmup <= max(2, size.iterations // 10)
    assert 1 <= loop.val_interval <= length
    assert cfg.default_hooks.checkpoint.interval == loop.val_interval
    if maps:
        heads = (cfg.model.decode_head, cfg.model.auxiliary_head)
        side = cfg.model.data_preprocessor.size[0]
        assert train.pipeline[3].crop_size == cfg.model.test_cfg.crop_size == (side, side)
    else:
        heads = (cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head)
        assert (heads[1] is None) == (task == 'detection')
        assert train.filter_cfg.min_size == 24
    assert {head.num_classes for head in heads if head} == {classes}
    assert cfg.train_dataloader.batch_size <= max(number, 2)


def test_a_config_is_written_checked_and_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay.write_yolo(tmp_path / 'My data!')
    arguments = ['--data', 'My data!', '--task', 'detection', '--workers', 1]
    status, printed = run_tool(TOOL, *arguments)
    config = Path('configs/mine/my_data_detection.py')
    assert status == 0, printed
    assert config.is_file()
    assert 'Nothing would break.' in printed
    train, test, demo = commands_in(printed)
    assert train[2] == str(config)
    assert [Path(words[1]).is_file() for words in (train, test, demo)] == [True] * 3
    assert Path(demo[2]).is_file()
    # again: the same; another hand's config, and another config's run, stay
    text = config.read_text()
    status, printed = run_tool(TOOL, *arguments)
    assert (status, config.read_text()) == (0, text)
    assert 'converted before' in printed
    config.write_text(text + '# mine\n')
    with pytest.raises(SystemExit, match='not written over'):
        run_tool(TOOL, *arguments)
    run = Path('work_dirs/mine/other')
    run.mkdir(parents=True)
    (run / 'epoch_1.pth').touch()
    (run / 'run.json').write_text('{"config": "/x/y.py", "sha256": ""}')
    with pytest.raises(SystemExit, match='holds a run'):
        run_tool(TOOL, *arguments, '--out', 'configs/mine/other.py')
    assert not Path('configs/mine/other.py').exists()
    # what is wrong is told whole
    inside = tmp_path / 'My data!'
    for place, text in (('valid', '0 9 9\n'), ('train', '0 .5 .5 .1 .1\n5 .5 .5 .1 .1\n')):
        lay.write_text(inside / place / 'labels' / 'x.txt', text)
        lay.write_image(inside / place / 'images' / 'x.png')
    expected = r'(?s)train/labels/x.txt:2: class 5.*valid/labels/x.txt:1'
    with pytest.raises(SystemExit, match=expected):
        run_tool(TOOL, *arguments, '--out', 'configs/mine/third.py')


@pytest.mark.slow
def test_from_a_folder_to_metrics_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay.write_yolo(tmp_path / 'data')
    _, printed = run_tool(TOOL, '--data', 'data', '--task', 'detection', '--workers', 1)
    train, test, demo = commands_in(printed)
    options = [*SMALL, *(f'{s}_dataloader.num_workers=0' for s in ('train', 'val', 'test'))]
    _, printed = run_tool('train.py', *train[2:], '--cfg-options', *options)
    assert f'Evaluate it with: python tools/test.py {test[2]} {test[3]}' in printed
    _, printed = run_tool('test.py', *test[2:])
    assert 'AP50' in printed
    assert len(list(Path(test[3], 'pictures').glob('*.png'))) == 2
    status, printed = run_tool('demo/image_demo.py', *demo[2:])
    assert (status, '1 of 1 pictures written' in printed) == (0, True)
