"""tools/train_continual.py: a sequence that was stopped, what it leaves, what it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS
from tiny_detection import ROOT, losses_by_iteration, run_tool
from tiny_segmentation import CLASSES as PIXEL_CLASSES
from tiny_segmentation import CONFIG as PIXELS
from tiny_segmentation import write_images

from vitadapter_dense.checkpoints import read_checkpoint
from vitadapter_dense.command_line.run_files import last_checkpoint
from vitadapter_dense.datasets.shapes import generate_shapes

CLASSIFIER = """
_base_ = ['{root}/configs/continual/classifier_vit_xs_shapes.py']
continual = dict(groups='2-1', distill=dict(weight=1.0, temperature=2.0), rows='task')
classes = ['circle-rings', 'square-checker', 'triangle-stripes', 'star-dots']
model = dict(
    backbone=dict(
        encoder=dict(img_size=32, patch_size=16, embed_dim=16, depth=1, num_heads=2, drop_rate=0.1)
    ),
    neck=dict(in_channels=16),
    head=dict(num_classes=4, in_channels=16),
)
small = dict(type='Resize', scale=(32, 32))
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        per_class=6,
        classes=classes,
        size=32,
        pipeline=[dict(type='DrawShape'), dict(type='RefuseLater'), dict(type='PackInputs')],
    ),
)
test_dataloader = dict(dataset=dict(per_class=4, size=32, classes=classes))
train_cfg = dict(max_epochs=2)
param_scheduler = []
load_from = None
custom_hooks = [dict(type='StopOnce')]
"""


@TRANSFORMS.register_module()
class RefuseLater:
    """Ends a run that sees a class of a later task."""

    known = 4

    def __call__(self, results: dict) -> dict:
        assert results['gt_label'] < self.known, 'a class of a later task was seen'
        return results


@HOOKS.register_module()
class StopOnce(Hook):
    """Presses Ctrl-C in a step of a task, where the test says so; sees what is answered."""

    at: tuple[int, int] | None = None  # a step, or with -1 what comes behind the last one
    answers: ClassVar[set] = set()  # task, class of an image, which classes can be the answer

    def before_train(self, runner: object) -> None:
        hook = next(h for h in runner.hooks if type(h).__name__ == 'TaskHook')
        self.task = hook.task
        RefuseLater.known = 2 + self.task

    def after_test_iter(self, runner: object, batch_idx: int, data_batch=None, outputs=()) -> None:
        hook = next(h for h in runner.hooks if type(h).__name__ == 'TaskHook')
        for sample in (one for one in outputs if 'pred_score' in one):
            answers = tuple((sample.pred_score > 0).tolist())
            self.answers.add((hook.task, int(sample.gt_label), answers))

    def before_train_iter(self, runner: object, batch_idx: int, data_batch: object = None) -> None:
        self.stop_at(runner.iter)

    def after_train(self, runner: object) -> None:
        self.stop_at(-1)

    def stop_at(self, step: int) -> None:
        if (self.task, step) == self.at:
            StopOnce.at = None
            os.kill(os.getpid(), signal.SIGINT)


def state_of(folder: Path, task: int) -> dict[str, torch.Tensor]:
    return read_checkpoint(last_checkpoint(folder / f'seed_0/task_{task:02d}'))['state_dict']


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec('mmpretrain') is None, reason='needs MMPretrain (classification)'
)
def test_a_stopped_sequence_repeats_an_uninterrupted_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, whole, stopped = tmp_path / 'own.py', tmp_path / 'whole', tmp_path / 'stopped'
    config.write_text(CLASSIFIER.format(root=ROOT))
    _, printed = run_tool('train_continual.py', config, '--work-dir', whole)
    assert 'task 3 of 3: star-dots (6 images)' in printed
    StopOnce.at = (1, 2)
    with pytest.raises(SystemExit) as ended:
        run_tool('train_continual.py', config, '--work-dir', stopped)
    assert ended.value.code == 128 + signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # by which a launcher ends the others
    assert '--resume' in capsys.readouterr().err
    assert not (stopped / 'seed_0/task_01/trained.json').exists()
    with pytest.raises(SystemExit, match='holds a sequence of tasks already'):
        run_tool('train_continual.py', config, '--work-dir', stopped)
    _, printed = run_tool('train_continual.py', config, '--work-dir', stopped, '--resume')
    assert 'task 1 of 3' not in printed
    for task in range(3):
        one, other = state_of(whole, task), state_of(stopped, task)
        assert one.keys() == other.keys()
        assert all(one[name].equal(other[name]) for name in one)
    assert (whole / 'matrix.csv').read_text() == (stopped / 'matrix.csv').read_text()

    results = json.loads((whole / 'results.json').read_text())
    assert results['groups'] == [
        ['circle-rings', 'square-checker'],
        ['triangle-stripes'],
        ['star-dots'],
    ]
    matrix = results['matrix']
    assert [[value is None for value in row] for row in matrix] == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]
    assert results['summary']['average'] == pytest.approx(sum(matrix[2]) / 3)
    assert {'forgetting_from_best', 'forgetting_by_step', 'forgetting_from_first'} <= set(
        results['summary']
    )
    first, last = (state_of(whole, task)['head.fc.weight'] for task in (0, 2))
    assert first[:2].equal(last[:2])  # rows='task'
    assert not first[3].equal(last[3])
    # only the rows of the task among the classifier's; 4 rows of 16 weights and a bias
    tasks = results['tasks']
    assert tasks[0]['trained_parameters'] - tasks[1]['trained_parameters'] == 17

    # whatever an image's task, all classes seen so far can be the answer
    assert StopOnce.answers == {
        (task, label, tuple(n < 2 + task for n in range(4)))
        for task in range(3)
        for label in range(2 + task)
    }
    task = whole / 'seed_0/task_01'
    _, printed = run_tool('test.py', task / 'own.py', task)
    assert f'aAcc {results["tasks"][1]["groups"]["all"]:.4f}' in ' '.join(printed.split())
    with pytest.raises(SystemExit, match='is of task 2, and one of task 1 is to go on from'):
        run_tool('test.py', task / 'own.py', last_checkpoint(whole / 'seed_0/task_02'))
    _, printed = run_tool(
        'train_continual.py', config, '--work-dir', whole, '--from-task', 2, '--resume'
    )
    assert 'task 2 of 3' not in printed
    assert (whole / 'seed_0/before_0/task_02').is_dir()
    assert state_of(whole, 2)['head.fc.weight'].equal(last)

    two = ['--work-dir', whole, '--seeds', 0, 1]
    with pytest.raises(SystemExit, match='task 0 of seed 1 is not done yet'):
        run_tool('train_continual.py', config, *two, '--from-task', 1)
    assert (whole / 'seed_0/task_02/scores.json').is_file()  # of no seed is anything moved
    start = ['--load-from', last_checkpoint(whole / 'seed_0/task_00')]
    with pytest.raises(SystemExit, match='load_from: not set in the checkpoint'):
        run_tool('train_continual.py', config, *two, '--resume', *start)
    later = ['--cfg-options', 'continual.later.randomness.seed=3']
    with pytest.raises(SystemExit, match=r'continual\.later changes randomness'):
        run_tool('train_continual.py', config, *two, '--resume', *later)

    sharded = ['--cfg-options', 'model_wrapper_cfg.type=FullySharded']
    with pytest.raises(SystemExit, match='which no process of FullySharded has whole'):
        run_tool('train_continual.py', config, '--work-dir', tmp_path / 'other', *sharded)

    config.write_text(config.read_text().replace("'2-1'", "'1-1'"))
    with pytest.raises(SystemExit, match=r"(?s)groups: '2-1', now '1-1'.*Mend"):
        run_tool('train_continual.py', config, '--work-dir', whole, '--resume')
    order = ['--cfg-options', f'load_from={last_checkpoint(whole / "seed_0/task_00")}']
    with pytest.raises(SystemExit, match='(?s)another order of tasks, circle-rings, square'):
        run_tool('train_continual.py', config, '--work-dir', tmp_path / 'other', *order)


SEGMENTOR = """
_base_ = ['{base}']
continual = dict(
    groups='1-1',
    background='ground',
    rows='task and background',
    freeze_rest=True,
    pseudo_labels=dict(threshold=0.5),
    distill=dict(weight=1.0, temperature=2.0),
    later=dict(train_cfg=dict(max_iters=3, val_interval=3)),
)

"""


@pytest.mark.slow
def test_a_segmentor_keeps_all_but_new_rows(tmp_path: Path) -> None:
    write_images(tmp_path / 'data', 4)
    base, config = tmp_path / 'base.py', tmp_path / 'own.py'
    base.write_text(PIXELS.format(root=ROOT, classes=PIXEL_CLASSES))
    config.write_text(SEGMENTOR.format(base=base))
    arguments = [config, '--work-dir', tmp_path / 'work', '--data-root', tmp_path / 'data']
    run_tool('train_continual.py', *arguments)
    own = json.loads((tmp_path / 'work/results.json').read_text())
    assert own['metric'] == 'mIoU'
    groups = own['tasks'][1]['groups']
    assert set(groups) == {'base', 'old', 'new', 'all'}
    assert groups['new'] == pytest.approx(own['matrix'][1][1])
    assert groups['all'] == pytest.approx((2 * groups['old'] + groups['new']) / 3)
    one, two = (state_of(tmp_path / 'work', task) for task in (0, 1))
    changed = [name for name in one if not one[name].equal(two[name])]
    assert changed == ['decode_head.conv_seg.weight', 'decode_head.conv_seg.bias']
    moved = (one[changed[0]] != two[changed[0]]).flatten(1).any(dim=1)
    assert moved.tolist() == [True, False, True]  # ground, dark, light


DETECTOR = """
_base_ = ['{base}']
continual = dict(
    groups='1-1', rows='task', freeze_rest=True, pseudo_labels=dict(threshold=0.0)
)
train_cfg = dict(max_epochs=1)
custom_hooks = [dict(type='StopOnce'), dict(type='SeeLabels')]
"""


@HOOKS.register_module()
class SeeLabels(Hook):
    """Notes what a detector's loss gets: task, labels of an image, and whether its masks fit."""

    seen: ClassVar[list] = []

    def before_train(self, runner: object) -> None:
        task = next(h for h in runner.hooks if type(h).__name__ == 'TaskHook').task
        loss = runner.bare_model.loss

        def noted(images: torch.Tensor, samples: list) -> dict:
            for objects in (sample.gt_instances for sample in samples):
                fits = objects.masks.masks.shape == (len(objects), *images.shape[-2:])
                self.seen.append((task, set(objects.labels.tolist()), fits))
            return loss(images, samples)

        runner.bare_model.loss = noted


@pytest.mark.slow
def test_a_detector_keeps_old_rows_and_is_taught_old_objects(
    tiny_config: Path, tmp_path: Path
) -> None:
    config = tmp_path / 'own.py'
    config.write_text(DETECTOR.format(base=tiny_config))
    SeeLabels.seen.clear()
    run_tool('train_continual.py', config, '--work-dir', tmp_path / 'work')
    results = json.loads((tmp_path / 'work/results.json').read_text())
    assert (results['metric'], results['groups']) == ('mAP', [['dark'], ['light']])
    assert all(0 <= value <= 100 for value in results['matrix'][1])
    assert all(
        losses_by_iteration(tmp_path / 'work/seed_0' / task) for task in ('task_00', 'task_01')
    )
    one, two = (state_of(tmp_path / 'work', task) for task in (0, 1))
    name = 'roi_head.bbox_head.fc_cls.weight'
    assert [n for n in one if not one[n].equal(two[n])] == [name, name.replace('weight', 'bias')]
    moved = (one[name] != two[name]).any(dim=1)
    assert moved.tolist() == [False, True, False]  # dark, light, no object

    assert all(fits for _, _, fits in SeeLabels.seen)
    assert {label for task, labels, _ in SeeLabels.seen if task == 0 for label in labels} == {0}
    assert all(labels == {0, 1} for task, labels, _ in SeeLabels.seen if task == 1)

    stopped = [config, '--work-dir', tmp_path / 'stopped', '--resume']
    for at in ((0, -1), (1, 1)):
        StopOnce.at = at
        with pytest.raises(SystemExit) as ended:
            run_tool('train_continual.py', *stopped)
        assert ended.value.code == 128 + signal.SIGINT
        scored = (tmp_path / 'stopped/seed_0/task_00/scores.json').is_file()
        assert scored == (at != (0, -1))  # not gone on behind the last step, either
    run_tool('train_continual.py', *stopped)
    again = state_of(tmp_path / 'stopped', 1)
    assert all(again[name].equal(two[name]) for name in two)

    given = ('weight=1.0', 'temperature=2.0')
    option = ['--cfg-options', *(f'continual.distill.{one}' for one in given)]
    with pytest.raises(SystemExit, match=r'Mend: pseudo_labels=dict\(threshold=0\.65\)'):
        run_tool('train_continual.py', config, '--work-dir', tmp_path / 'other', *option)


SEGMENTS = """
_base_ = ['{root}/configs/continual/mask2former_vitadapter_xs_shapes_3_1_panoptic.py']
continual = dict(
    groups=[['circle', 'square', 'triangle', 'star', 'background'], ['cross']],
    later=dict(
        train_cfg=dict(max_iters=2, val_interval=2),
        param_scheduler=[dict(type='ConstantLR', factor=1.0, by_epoch=False)],
    ),
)
model = dict(
    backbone=dict(encoder=dict(img_size=64)),
    panoptic_head=dict(
        new_classes=[1],
        pixel_decoder=dict(encoder=dict(num_layers=1)),
        transformer_decoder=dict(num_layers=1),
    ),
    train_cfg=dict(num_points=64),
    test_cfg=dict(object_mask_thr=0.0, iou_thr=0.0),
)
whole = dict(num_workers=0, persistent_workers=False, batch_size=2)
read = [dict(type='LoadImageChecked'), dict(type='LoadPanopticChecked'), dict(type='PackDetInputs')]
train_dataloader = dict(whole, dataset=dict(pipeline=read))
val_dataloader = test_dataloader = dict(whole, dataset=dict(pipeline=read))
train_cfg = dict(max_iters=2, val_interval=4)
param_scheduler = []
"""


@pytest.mark.slow
def test_new_segments_get_queries_of_their_own(tmp_path: Path) -> None:
    generate_shapes(tmp_path / 'data', num_train=6, num_val=4, size=64, seed=3)
    config = tmp_path / 'own.py'
    config.write_text(SEGMENTS.format(root=ROOT))
    arguments = [config, '--work-dir', tmp_path / 'work', '--data-root', tmp_path / 'data']
    for option, message in (
        ('continual.freeze_rest=False', r'Mend: continual\.freeze_rest=True'),
        ('continual.groups=4-2', r'Mend: new_classes=\[2\]'),
    ):
        with pytest.raises(SystemExit, match=message):
            run_tool('train_continual.py', *arguments, '--cfg-options', option)
        shutil.rmtree(tmp_path / 'work')
    run_tool('train_continual.py', *arguments)
    results = json.loads((tmp_path / 'work/results.json').read_text())
    assert (results['metric'], results['groups'][1]) == ('PQ', ['cross'])
    first, last = results['tasks']
    assert first['classes']['cross'] is None  # it had not come
    assert all(0 <= last['groups'][name] <= 100 for name in ('base', 'old', 'new', 'all'))
    one, two = (state_of(tmp_path / 'work', task) for task in (0, 1))
    changed = {name for name in one if not one[name].equal(two[name])}
    own = {name for name in one if name.startswith('panoptic_head.steps.0.')}
    assert changed == {*own, 'panoptic_head.task'}
    assert last['trained_parameters'] == sum(one[name].numel() for name in own)

    # what the step adds is all that its delta has, and completes the first task's model
    checkpoint = last_checkpoint(tmp_path / 'work/seed_0/task_01')
    delta = checkpoint.with_name(f'tuned_{checkpoint.name}')
    assert last['delta_bytes'] == delta.stat().st_size < checkpoint.stat().st_size / 10
    assert read_checkpoint(delta)['state_dict'].keys() == changed
    task = tmp_path / 'work/seed_0/task_01'
    _, printed = run_tool('test.py', task / 'own.py', delta)
    assert f'PQ {last["groups"]["all"]:.4f}' in ' '.join(printed.split())


MEMORY = """
_base_ = ['{root}/configs/continual/dino_vitadapter_xs_shapes_3_1_memory.py']
continual = dict(
    groups='4-1',
    pseudo_labels=dict(threshold=0.0),
    later=dict(
        train_cfg=dict(max_iters=3, val_interval=3),
        param_scheduler=[dict(type='ConstantLR', factor=1.0, by_epoch=False)],
    ),
)
model = dict(
    backbone=dict(encoder=dict(img_size=64)),
    encoder=dict(num_layers=1),
    decoder=dict(num_layers=2),
    prompt_memory=dict(size=6, slots_per_task=6),
)
whole = dict(num_workers=0, persistent_workers=False, batch_size=2)
read = [dict(type='LoadImageChecked'), dict(type='LoadAnnotations', with_bbox=True)]
read += [dict(type='Resize', scale=(64, 64), keep_ratio=True), dict(type='PackDetInputs')]
train_dataloader = dict(whole, dataset=dict(pipeline=read))
val_dataloader = test_dataloader = dict(whole, dataset=dict(pipeline=read))
train_cfg = dict(max_iters=2, val_interval=4)
param_scheduler = []
find_unused_parameters = False
default_hooks = dict(checkpoint=dict(interval=1))
custom_hooks = [dict(type='StopOnce')]
"""


@pytest.mark.slow
def test_new_objects_get_prompts_of_their_own(tmp_path: Path) -> None:
    generate_shapes(tmp_path / 'data', num_train=6, num_val=4, size=64, seed=3)
    config = tmp_path / 'own.py'
    config.write_text(MEMORY.format(root=ROOT))
    arguments = [config, '--data-root', tmp_path / 'data', '--work-dir']
    for option, message in (
        ('continual.freeze_rest=False', r'Mend: continual\.freeze_rest=True'),
        (
            'continual.groups=3-1',
            r'units for 1 tasks after the first, and there are 2: set size=12',
        ),
        ('model.prompt_memory.top_k=0', 'an image reads top_k of the slots_per_task'),
        (
            'continual.later.model.prompt_memory.length=3',
            r'prompts\.own the first: \(6, 2, 4, 64\) in the first task, \(6, 2, 3, 64\)',
        ),
    ):
        with pytest.raises(SystemExit, match=message):
            run_tool('train_continual.py', *arguments, tmp_path / 'no', '--cfg-options', option)
        shutil.rmtree(tmp_path / 'no')
    StopOnce.at = (1, 2)
    with pytest.raises(SystemExit):
        run_tool('train_continual.py', *arguments, tmp_path / 'stopped')
    for folder in ('stopped', 'whole'):
        resumed = ['--resume'] if folder == 'stopped' else []
        run_tool('train_continual.py', *arguments, tmp_path / folder, *resumed)
    # several processes wait for no gradient of the memory, which the first task does not use
    assert Config.fromfile(tmp_path / 'whole/seed_0/task_00/own.py').find_unused_parameters
    one, two, again = (
        state_of(tmp_path / folder, task)
        for folder, task in (('whole', 0), ('whole', 1), ('stopped', 1))
    )
    assert all(again[name].equal(two[name]) for name in two)
    changed = {name for name in one if not one[name].equal(two[name])}
    rows = {f'bbox_head.cls_branches.{n}.{p}' for n in range(3) for p in ('weight', 'bias')}
    own = {'prompt_memory.prompts.own', 'prompt_memory.choice.keys.own'}
    assert changed == {*rows, *own, 'prompt_memory.task'}
    for name in rows:
        moved = (one[name] != two[name]).reshape(5, -1).any(dim=1)
        assert moved.tolist() == [False] * 4 + [True]
    last = json.loads((tmp_path / 'whole/results.json').read_text())['tasks'][1]
    trained = sum(two[name].numel() for name in own) + sum(two[name][4:].numel() for name in rows)
    assert last['trained_parameters'] == trained
    checkpoint = last_checkpoint(tmp_path / 'whole/seed_0/task_01')
    delta = read_checkpoint(checkpoint.with_name(f'tuned_{checkpoint.name}'))
    assert delta['state_dict'].keys() == changed
