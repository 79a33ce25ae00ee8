"""Scores made a few rows at a time give the label maps that MMSegmentation makes of whole ones."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from vitadapter_dense.inference import large_images, score_rows
from vitadapter_dense.inference.large_images import bound_memory
from vitadapter_dense.inference.segmentation_tta import SegmentationTTAModel

SIZE = (60, 84)
WHOLE = dict(mode='whole')
SLIDE = dict(mode='slide', crop_size=(32, 40), stride=(21, 27))
FLIPPED = dict(flip=True, flip_direction='vertical')


@MODELS.register_module(force=True)
class PatchBackbone(BaseModule):
    """A map of stride 4; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.calls = nn.Conv2d(3, 8, 4, 4), 0

    def forward(self, images: Tensor) -> list[Tensor]:
        self.calls += 1
        return [self.patches(images)]


class MapDecoder(nn.Module):
    """Queries whose masks are a map's channels, as a decoder of mask heads has them."""

    stride = 8  # doubled once

    def __init__(self, num_classes: int, num_queries: int) -> None:
        super().__init__()
        self.classes = nn.Parameter(3 * torch.randn(num_queries, num_classes + 1))
        self.predictor = nn.Module()
        self.predictor.upscale = [None]

    def forward(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(self.classes.expand(len(features[0]), -1, -1), 3 * features[0])]


def segmentor(
    channels: int = 5, *, align_corners: bool = False, test_cfg: dict = WHOLE, masks: bool = False
) -> nn.Module:
    init_default_scope('mmseg')
    torch.manual_seed(0)
    if masks:
        MODELS.register_module(name='MapDecoder', module=MapDecoder, force=True)
        loss = dict(type='mmseg.CrossEntropyLoss')
        train_cfg = dict(
            assigner=dict(type='mmdet.HungarianAssigner', match_costs=[dict(type='mmdet.DiceCost')])
        )
        head = dict(type='SemanticMaskHead', num_classes=channels, num_queries=8)
        head |= dict(decoder=dict(type='MapDecoder'), train_cfg=train_cfg)
        head |= dict(loss_cls=loss, loss_mask=loss, loss_dice=loss)
    else:
        kind = dict(type='FCNHead', in_channels=8, in_index=0, channels=8, num_convs=0)
        head = dict(kind, num_classes=max(2, channels), concat_input=False)
        head |= dict(align_corners=align_corners, out_channels=channels)
        head |= dict(threshold=0.45) if channels == 1 else {}
    config = dict(type='EncoderDecoder', data_preprocessor=dict(type='SegDataPreProcessor'))
    config |= dict(backbone=dict(type='PatchBackbone'), decode_head=head)
    model = MODELS.build(dict(config, test_cfg=ConfigDict(test_cfg))).eval()
    if not masks:
        nn.init.normal_(model.decode_head.conv_seg.weight)
    return model


def images(number: int = 2) -> Tensor:
    return torch.randn(number, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def samples(*shapes: tuple[int, int], **meta: object) -> list[BaseDataElement]:
    known = dict(img_shape=SIZE, **meta)
    return [BaseDataElement(metainfo=dict(known, ori_shape=shape)) for shape in shapes]


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_images, 'KEPT_BYTES', 0)
    monkeypatch.setattr(score_rows, 'STRIP_BYTES', 20_000)


@pytest.mark.parametrize('test_cfg', [WHOLE, SLIDE])
@pytest.mark.parametrize(
    ('channels', 'align_corners', 'masks'),
    [(1, False, False), (2, True, False), (5, False, False), (5, True, False), (5, False, True)],
)
@torch.no_grad()
def test_label_maps_are_those_of_whole_scores(
    channels: int, align_corners: bool, masks: bool, test_cfg: dict
) -> None:
    model = segmentor(channels, align_corners=align_corners, test_cfg=test_cfg, masks=masks)
    padded = dict(img_padding_size=[0, 4, 0, 8], pad_shape=SIZE)
    metas = [{}, FLIPPED, dict(FLIPPED, flip_direction='horizontal')]
    metas += [padded] if not masks or test_cfg is WHOLE else []
    for meta in metas:
        shapes = (150, 33), (47, 211)
        expected = type(model).predict(model, images(), samples(*shapes, **meta))
        bound_memory(model)
        found = model.predict(images(), samples(*shapes, **meta))
        for one, other in zip(expected, found, strict=True):
            assert 'seg_logits' not in other
            assert other.pred_sem_seg.data.dtype == one.pred_sem_seg.data.dtype
            assert torch.equal(other.pred_sem_seg.data, one.pred_sem_seg.data)
        assert len(found[0].pred_sem_seg.data.unique()) > 1


@pytest.mark.parametrize('channels', [1, 5])
@torch.no_grad()
def test_views_are_merged_the_same_way(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SegmentationTTAModel(module=segmentor(channels, test_cfg=SLIDE))
    shapes = (150, 33), (47, 211)

    def views() -> dict:
        turned = samples(*shapes, **FLIPPED)
        inputs = [list(images()), list(images().flip(2)), list(images().flip(1))]
        return dict(inputs=inputs, data_samples=[samples(*shapes), turned, samples(*shapes)])

    found = model.test_step(views())
    monkeypatch.setattr(large_images, 'KEPT_BYTES', 10**9)
    monkeypatch.setattr('vitadapter_dense.inference.segmentation_tta.KEPT_BYTES', 10**9)
    for one, other in zip(model.test_step(views()), found, strict=True):
        assert torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data)


@torch.no_grad()
def test_each_window_is_computed_once_and_few_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    model = segmentor(test_cfg=SLIDE)
    bound_memory(model)
    model.predict(images(), samples((150, 33), (47, 211)))
    boxes = score_rows.window_boxes(SIZE, SLIDE['crop_size'], SLIDE['stride'])
    assert model.backbone.calls == len(boxes) == 9
    held = []

    def compute(box: score_rows.Box) -> list[score_rows.Scores]:
        held.append(len(windows._found[0]))
        return [score_rows.Held(torch.zeros(1, box.bottom - box.top, box.right - box.left))]

    monkeypatch.setattr(score_rows, 'STRIP_BYTES', 5 * 40 * 4)
    boxes = score_rows.window_boxes((400, 40), (32, 40), (21, 27))
    windows = score_rows.Windows(boxes, compute, (1, 1, 400, 40))
    score_rows.label_map(windows.scores(), threshold=0.5)
    assert len(held) == len(boxes)
    assert max(held) <= 2


@torch.no_grad()
def test_no_more_than_a_strip_is_made_at_once() -> None:
    """The scores of all rows would be 25 times as much."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.is_floating_point():
                largest = max(largest, out.numel() * 4)
            return out

    model = segmentor(50, test_cfg=SLIDE)
    bound_memory(model)
    with Watch():
        model.predict(images(1), samples((300, 100)))
    assert largest < 300 * 100 * 50 * 4 / 25


def test_other_segmentors_and_small_images_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmseg.models import EncoderDecoder

    class Own(EncoderDecoder):
        def inference(self, inputs: Tensor, metas: list[dict]) -> Tensor:
            return super().inference(inputs, metas)

    model = segmentor()
    model.__class__ = Own
    bound_memory(model)
    assert 'predict' not in vars(model)
    monkeypatch.setattr(large_images, 'KEPT_BYTES', 10**9)
    model = segmentor()
    bound_memory(model)
    with torch.no_grad():
        (found,) = model.predict(images(1), samples(SIZE))
    assert found.seg_logits.data.shape == (5, *SIZE)
