"""Which prompt serves which class: counted in evaluations, written, read, drawn."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image
from torch import nn

from tests.tuning.toys import build
from tools.analysis import prompt_choices
from vitadapter_dense import PromptCountsHook
from vitadapter_dense.reports.prompt_counts import read_counts

CLASSES = ('ring', 'disc', 'cross')


def evaluated(folder: Path, *, task: int = 0, **options: Any) -> nn.Module:
    """Two batches of four images each, the second of which is a segmentor's and a detector's."""
    tuning = dict(type='PromptPool', size=4, length=3, top_k=2, query='mean', **options)
    model = build('vit', tuning).eval()
    if options.get('start') == 'images':
        model.tuning.start_from(torch.rand(4, 3, 9, 9))
    model.tuning.start_task(task)
    dataset = SimpleNamespace(metainfo=dict(classes=CLASSES))
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(model=model, test_dataloader=loader, work_dir=str(folder))
    hook = PromptCountsHook()
    hook.before_test_epoch(runner)
    labels = [torch.tensor([n % 2]) for n in range(4)]
    batches = [
        [BaseDataElement(gt_label=label) for label in labels],
        [
            BaseDataElement(gt_sem_seg=PixelData(data=torch.tensor([[[0, 2, 255]]]))),
            BaseDataElement(gt_instances=InstanceData(labels=torch.tensor([1, 1]))),
            BaseDataElement(),
            BaseDataElement(gt_label=torch.tensor([1])),
        ],
    ]
    for number, samples in enumerate(batches):
        with torch.no_grad():
            model(torch.randn(4, 3, 40, 40, generator=torch.Generator().manual_seed(number)))
        hook.after_test_iter(runner, number, None, samples)
    hook.after_test_epoch(runner)
    assert not model.tuning.choice._forward_hooks
    return model


def test_counts_pictures_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    chosen: list[torch.Tensor] = []
    for task in range(2):
        folder = tmp_path / f'task_{task:02d}'
        model = evaluated(folder, task=task, start='images')
        model.tuning.choice.register_forward_hook(lambda _m, _a, out: chosen.append(out.slots))
    with torch.no_grad():
        for number in range(2):
            model(torch.randn(4, 3, 40, 40, generator=torch.Generator().manual_seed(number)))
    expected = np.zeros((3, 4), np.int64)
    for row, label in zip(torch.cat(chosen).tolist(), [0, 1, 0, 1, (0, 2), 1, (), 1], strict=True):
        for slot in row:
            expected[list(np.atleast_1d(np.array(label, np.int64))), slot] += 1
    tasks = read_counts(tmp_path)
    assert [one.task for one in tasks] == [0, 1]
    assert np.array_equal(tasks[1].counts, expected)
    assert np.allclose(tasks[1].shares.sum(axis=1), 200)  # two prompts an image
    assert [np.asarray(Image.open(p)).shape for p in tasks[1].pictures] == [(4, 8, 3)] * 4
    shown = np.asarray(Image.open(tasks[1].pictures[2])).astype(float)
    pixels = model.tuning.pictures()[2].permute(1, 2, 0).numpy()
    assert np.corrcoef(shown.ravel(), pixels.ravel())[0, 1] > 0.999

    assert prompt_choices.main([str(tmp_path), '--class', 'disc']) == 0
    assert 'prompt_choices.png' in capsys.readouterr().out
    for name in ('prompt_choices.png', 'prompt_choices_class.png'):
        assert min(Image.open(tmp_path / name).size) > 200
    rows = (tmp_path / 'prompt_choices.csv').read_text().splitlines()
    assert len(rows) == 1 + 2 * 3 * 4
    assert rows[-1] == f'1,cross,3,{expected[2, 3]}'
    with pytest.raises(SystemExit, match="no class 'dics'; choose of ring, disc, cross"):
        prompt_choices.main([str(tmp_path), '--class', 'dics'])
    (tmp_path / 'again').mkdir()
    record = json.loads((folder / 'prompt_counts.json').read_text())
    (tmp_path / 'again' / 'prompt_counts.json').write_text(json.dumps(record))
    with pytest.raises(SystemExit, match='second of task 1'):
        prompt_choices.main([str(tmp_path)])


def test_what_cannot_be_counted_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match='no prompt_counts.json below .*PromptCountsHook'):
        prompt_choices.main([str(tmp_path)])
    runner = SimpleNamespace(model=build('vit', dict(type='LoRA')), test_dataloader=None)
    with pytest.raises(ValueError, match='one PromptPool, and TunedPlainViT has 0'):
        PromptCountsHook().before_test_epoch(runner)
    evaluated(tmp_path)
    assert not (tmp_path / 'prompt_pictures').exists()  # these prompts are no images
