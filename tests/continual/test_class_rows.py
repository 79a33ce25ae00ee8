"""Rows of a classifier: which are predicted, which change; the old model as a teacher."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from torch import Tensor, nn

from vitadapter_dense.continual.class_rows import ClassRows, find_classifiers, row_mask
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.old_model import OldModel, taught_layer
from vitadapter_dense.continual.start_task import start_task


class Model(nn.Module):
    """A convolution, and a linear head on the mean or a 1 x 1 convolution."""

    def __init__(self, rows: int, *, pixels: bool = False) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 6, 3, padding=1)
        self.decode_head = nn.Module()
        self.decode_head.conv_seg = nn.Conv2d(6, rows, 1) if pixels else None
        self.head = nn.Module()
        if not pixels:
            self.head.fc = nn.Linear(6, rows)

    def forward(self, images: Tensor, mode: str = 'tensor') -> Tensor:
        maps = self.backbone(images).relu()
        if self.decode_head.conv_seg is not None:
            return self.decode_head.conv_seg(maps)
        return self.head.fc(maps.mean(dim=(2, 3)))


@pytest.mark.parametrize('pixels', [False, True])
def test_frozen_rows_do_not_move_and_hidden_ones_are_never_predicted(pixels: bool) -> None:
    model = Model(6, pixels=pixels)
    ((name, layer),) = find_classifiers(model, 5).items()  # five classes and no object
    masks = dict(trained=[2, 3], predicted=[0, 1, 2, 3])
    masks = {what: row_mask(labels, 6, 5) for what, labels in masks.items()}
    rows = ClassRows(name, layer, frozen=~row_mask([2, 3], 6, 5), **masks)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        logits = model(torch.randn(4, 3, 8, 8)).movedim(1, -1).reshape(-1, 6)
        assert (logits[:, [0, 1, 4]] < -1000).all()
        nn.functional.cross_entropy(logits, torch.randint(2, 4, (len(logits),))).backward()
        optimizer.step()
        optimizer.zero_grad()
        rows.put_back()
    for kind in ('weight', 'bias'):
        now, old = getattr(layer, kind), before[f'{name}.{kind}']
        moved = (now != old).reshape(6, -1).any(dim=1)
        assert moved.tolist() == [False, False, True, True, False, True]
    assert (model.backbone.weight != before['backbone.weight']).any()
    model.eval()
    shown = nn.functional.interpolate(model(torch.randn(2, 3, 4, 4)), 9) if pixels else None
    logits = model(torch.randn(2, 3, 8, 8)) if shown is None else shown
    assert logits.isfinite().all()
    assert (logits[:, 4] < -1000).all()
    assert (logits[:, [0, 1, 2, 3, 5]] > -1000).all()


def test_a_head_without_a_row_for_a_class_says_so() -> None:
    with pytest.raises(ScheduleError, match=r'head.fc has 4 rows, and the data set 5 classes'):
        find_classifiers(Model(4), 5)
    with pytest.raises(ScheduleError, match='no layer with a row for each of 2 classes'):
        find_classifiers(Model(18), 2)


def test_the_old_model_teaches_its_own_classes_alone() -> None:
    """The gradient of LwF is known: T (softmax(new / T) - softmax(old / T)), over old classes."""
    model = Model(5)
    old = OldModel(model, model.state_dict(), task=0, num_classes=5, known=[0, 2])
    images, temperature = torch.randn(4, 3, 8, 8), 2.0
    taught = old.look(images)
    assert taught.equal(model(images))
    nn.init.normal_(model.head.fc.weight)
    assert not old.look(images).equal(model(images))  # it is a copy
    new = torch.randn(4, 5, requires_grad=True)
    old.distillation(taught, new, temperature=temperature).backward()
    soft = [(logits[:, [0, 2]] / temperature).softmax(dim=1) for logits in (new, taught)]
    expected = torch.zeros(4, 5)
    expected[:, [0, 2]] = temperature * (soft[0] - soft[1]).detach() / 4
    torch.testing.assert_close(new.grad, expected)


def test_logits_of_queries_cannot_be_taught() -> None:
    model = Model(4)
    model.decode_head.cls_embed = model.head._modules.pop('fc')  # as Mask2Former's
    with pytest.raises(ScheduleError, match=r'decode_head\.cls_embed gives those of queries'):
        taught_layer(model, 3)


@pytest.mark.parametrize(('aligned', 'sure'), [(False, 2), (True, 1)])
def test_old_logits_are_enlarged_as_the_head_does(aligned: bool, sure: int) -> None:
    """Two logits, 4 and -4, over four pixels: the second is 2, or with aligned corners 4/3."""
    model = Model(2, pixels=True)
    model.decode_head.align_corners = aligned
    old = OldModel(model, model.state_dict(), task=0, num_classes=2, known=[0, 1])
    logits = torch.tensor([[[[0.0, 0.0]], [[4.0, -4.0]]]])
    sample = SimpleNamespace(gt_sem_seg=PixelData(data=torch.zeros(1, 1, 4, dtype=torch.long)))
    sample.metainfo = {}
    old.label_pixels(logits, [sample], threshold=0.85, background=0)
    assert sample.gt_sem_seg.data.sum() == sure


def test_sure_pixels_of_the_background_become_old_classes() -> None:
    model = Model(4, pixels=True)
    old = OldModel(model, model.state_dict(), task=0, num_classes=4, known=[0, 1, 2])
    logits = torch.zeros(
        1, 4, 2, 3
    )  # pixels: sure of 1, unsure, sure of ground, of what is unknown
    logits[0, 1, 0, 0] = logits[0, 0, 0, 2] = logits[0, 3, 1, 0] = logits[0, 2, 1, 1] = 9
    logits[0, 2, 1, 2] = 9
    truth = torch.tensor([[[0, 0, 0], [0, 3, 0]]])
    sample = SimpleNamespace(
        gt_sem_seg=PixelData(data=truth.clone()), metainfo=dict(img_shape=(2, 2))
    )
    old.label_pixels(logits, [sample], threshold=0.7, background=0)
    assert sample.gt_sem_seg.data.tolist() == [[[1, 0, 0], [0, 3, 0]]]


def test_a_task_that_began_long_ago_keeps_its_weights() -> None:
    class Slots(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slots, self.task = nn.Parameter(torch.zeros(3)), None

        def start_task(self, index: int) -> None:
            self.task = index
            with torch.no_grad():
                self.slots[index] = 7.0

    model = nn.Sequential(Slots())
    start_task(model, 1)
    assert (model[0].task, model[0].slots.tolist()) == (1, [0, 7, 0])
    start_task(model, 2, keep=True)
    assert (model[0].task, model[0].slots.tolist()) == (2, [0, 7, 0])
