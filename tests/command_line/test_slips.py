"""What the command line alone shows to be wrong ends a tool before its slow imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from vitadapter_cli import above_zero, config_parser, load_config, parse, share
from vitadapter_cli.options import apply_options

ROOT = Path(__file__).parents[2]
SHAPES = 'configs/shapes/mask_rcnn_vitadapter_xs.py'
TOOLS = sorted(
    path
    for path in [*ROOT.glob('tools/*.py'), *ROOT.glob('tools/*/*.py')]
    if 'ArgumentParser(' in path.read_text() or 'config_parser(' in path.read_text()
)


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.stem)
def test_help_needs_nothing_slow(tool: Path) -> None:
    """As a process in which torch and the toolboxes cannot be imported."""
    code = (
        'import runpy, sys\n'
        "sys.modules.update(dict.fromkeys(('torch', 'mmcv', 'mmdet', 'mmseg', 'timm')))\n"
        f'sys.argv, sys.path[0] = [{str(tool)!r}, "--help"], {str(tool.parent)!r}\n'
        f"runpy.run_path({str(tool)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('usage:')


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['configs/shapes/mask_rcn_vitadapter_xs.py'], 'mean: configs/shapes/mask_rcnn_vitadapter'),
        ([SHAPES, '--cfg-options', 'train_cfg.max_iter=3'], 'mean max_iters'),
        ([SHAPES, '--cfg-options', 'train_cfg.max_iters=abc'], 'has a number there'),
        ([SHAPES, '--cfg-options', 'model.bakbone.with_cp=True'], 'mean backbone'),
        (
            [SHAPES, '--cfg-options', 'train_dataloader.persistent_workers=yes'],
            "'yes': .* True or False",
        ),
        ([SHAPES, '--cfg-options', 'model.backbone=ResNet'], 'a group of settings'),
        ([SHAPES, '--cfg-options', 'train_cfg=dict(max_iter=3)'], 'mean max_iters'),
        ([SHAPES, '--cfg-options', 'visualizer.vis_backends.9.x=1'], 'vis_backends.9.x'),
        ([SHAPES, '--cfg-options', 'optim_wrapper.optimizer.lr=-1'], 'lr=-1: .* at least 0'),
        ([SHAPES, '--cfg-options', 'train_dataloader.batch_size=0'], 'batch_size=0: .* at least 1'),
        ([SHAPES, '--data-root', 'no/such'], 'no data folder at no/such'),
        ([SHAPES, '--load-from', 'nope.pth'], 'no checkpoint to load from at nope.pth'),
        (['nope.pth', SHAPES], 'nope.pth is a checkpoint, where .* swapped'),
        (['configs/shapes', 'nope.pth'], 'configs/shapes is a folder.*name the file: configs/sha'),
        ([SHAPES, '--cfg-options', 'data_root=data/x'], 'use --data-root'),
        ([SHAPES, 'nope.pth'], 'no checkpoint file and no work directory at nope.pth'),
    ],
)
def test_slips_are_told_without_imports(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    parser = config_parser('A tool.')
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('--load-from')
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        parse(parser, words)


def test_variables_that_choose_no_base_are_answered_with_what_is_near(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    leaf = ROOT / 'configs/classification/classifier_r50_pro_tuning.py'
    monkeypatch.setenv('IMAGE_SET', 'cifar1000')
    with pytest.raises(FileNotFoundError, match=r'cifar1000\.py, which is not there.*: cifar100'):
        load_config(leaf)
    monkeypatch.setenv('IMAGE_SET', 'cifar10')
    assert load_config(leaf).num_classes == 10
    assert 'IMAGE_SET' not in ''.join(capfd.readouterr())  # MMEngine says so at every reading


def test_misspelt_options_are_answered_with_what_is_near(capsys: pytest.CaptureFixture) -> None:
    for wrong, hint in (
        ('--data-rot=x', 'did you mean --data-root?'),
        ('--zzz', 'arguments: --zzz'),
    ):
        with pytest.raises(SystemExit):
            parse(config_parser('A tool.'), [SHAPES, wrong])
        assert capsys.readouterr().err.rstrip().endswith(hint)


def test_what_may_be_meant_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(ROOT)
    options = [
        'train_cfg.max_iters=3',
        'model.backbone.with_cp=None',
        'model.neck=None',
        'new=1',
        'x.dtype=a',
        'new_file=iter_{}.pth',
        'new_group=dict(type=LoRA, rank=-8, on=true, of=[dict(a=(1, None)), {"b": 2.5}])',
    ]
    given = parse(config_parser('A tool.'), [SHAPES, '--cfg-options', *options])
    assert given.cfg_options['new'] == 1
    assert given.cfg_options['new_file'] == 'iter_{}.pth'
    nested = dict(type='LoRA', rank=-8, on=True, of=[dict(a=(1, None)), dict(b=2.5)])
    assert given.cfg_options['new_group'] == nested
    for wrong in ('a=dict(b=f(3))', 'a={**{1: 2}}', 'a=dict(b', 'a'):
        with pytest.raises(SystemExit):
            parse(config_parser('A tool.'), [SHAPES, '--cfg-options', wrong])
        assert f'{wrong!r} is no KEY=VALUE' in capsys.readouterr().err


def test_values_keep_their_kind() -> None:
    cfg = Config(dict(train_cfg=dict(max_iters=3), scale=[1.0, dict(x=2)]))
    for key in ('train_cfg.max_iters', 'scale.0', 'scale.1.x'):
        with pytest.raises(ValueError, match=f"{key}='abc': the configuration has a number"):
            apply_options(cfg, {key: 'abc'})
    cfg.optim_wrapper = dict(loss_scale=512.0)
    cfg.encoder = dict(pretrained=True)
    with pytest.raises(ValueError, match="pretrained='yes': the configuration has True or False"):
        apply_options(cfg, {'encoder.pretrained': 'yes'})
    for weights in ('vit.pth', 'https://x.org/vit', 'package:vit/file'):
        apply_options(cfg, {'encoder.pretrained': weights})
        assert cfg.encoder.pretrained == weights
        cfg.encoder.pretrained = True
    cfg.blocks = dict(layer1=1)
    remarks = apply_options(cfg, {'optim_wrapper.loss_scale': 'dynamic', 'blocks.layer2': 2})
    assert cfg.blocks.layer2 == 2
    assert len(remarks) == 1


def test_numbers_stay_in_their_range(capsys: pytest.CaptureFixture) -> None:
    parser = config_parser('A tool.')
    parser.add_argument('--score-thr', type=share)
    parser.add_argument('--step', type=above_zero)
    wrong = {'--score-thr': ('1.5', '-0.1', 'high', 'nan'), '--step': ('0', '-1', 'inf', 'nan')}
    for option, texts in wrong.items():
        for text in texts:
            with pytest.raises(SystemExit):
                parser.parse_args([SHAPES, option, text])
            assert f'{option}: ' in capsys.readouterr().err


@pytest.mark.parametrize('of_a_tool', [True, False])
def test_ctrl_c_is_one_line_from_the_first_import_on(of_a_tool: bool) -> None:
    """A program that imports the package keeps its own ways."""
    code = (
        'import sys\n'
        'class Interrupted:\n'
        '    def find_spec(self, name, *_):\n'
        "        if name.startswith('mmengine'):\n"
        '            raise KeyboardInterrupt\n'
        'sys.meta_path.insert(0, Interrupted())\n'
        f'{"" if of_a_tool else "sys.modules[`vitadapter_dense`] = sys"}\n'
        'import vitadapter_cli\n'
    ).replace('`', "'")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (-2, 130)
    assert (done.stderr == '\nstopped\n') == of_a_tool
