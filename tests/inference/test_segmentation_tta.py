"""Views of a segmentor are merged as probabilities, of one output channel as of many."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, PixelData
from torch import nn

from vitadapter_dense.inference.segmentation_tta import SegmentationTTAModel
from vitadapter_dense.inference.tta import apply_tta


def test_every_data_set_gets_views_and_the_toolbox_s_model_is_replaced() -> None:
    steps = [dict(type='LoadImageChecked'), dict(type='PackSegInputs')]
    parts = [dict(type='BaseSegDataset', pipeline=steps) for _ in range(2)]
    dataset = dict(type='ConcatDataset', datasets=parts)
    cfg = Config(dict(default_scope='mmseg', test_dataloader=dict(dataset=dataset)))
    cfg.tta_model = dict(type='SegTTAModel')
    apply_tta(cfg)
    for part in cfg.test_dataloader.dataset.datasets:
        assert [step.type for step in part.pipeline] == ['LoadImageChecked', 'TestTimeAug']
    assert cfg.custom_hooks[0].tta_cfg.type == 'SegmentationTTAModel'


class Segmentor(BaseModel):
    """Gives what MMSegmentation's `BaseSegmentor.postprocess_result` does."""

    def __init__(self) -> None:
        super().__init__()
        self.decode_head = nn.Identity()
        self.decode_head.threshold = 0.3

    def sample(self, logits: torch.Tensor) -> BaseDataElement:
        if len(logits) == 1:
            logits = logits.sigmoid()
            labels = (logits > self.decode_head.threshold).to(logits)
        else:
            labels = logits.argmax(0, keepdim=True)
        sample = BaseDataElement()
        sample.seg_logits, sample.pred_sem_seg = PixelData(data=logits), PixelData(data=labels)
        return sample

    forward = None


@pytest.mark.parametrize('channels', [1, 2, 5])
@pytest.mark.parametrize('size', [(7, 9), (1, 9)])
def test_views_that_are_alike_change_nothing(channels: int, size: tuple[int, int]) -> None:
    model = Segmentor()
    tta = SegmentationTTAModel(module=model)
    logits = 4 * torch.randn(channels, *size)
    expected = model.sample(logits)
    (alone,) = tta.merge_preds([[model.sample(logits)]])
    assert torch.equal(alone.seg_logits.data, expected.seg_logits.data)
    for number in (1, 2, 3):
        (merged,) = tta.merge_preds([[model.sample(logits) for _ in range(number)]])
        assert torch.equal(merged.pred_sem_seg.data, expected.pred_sem_seg.data)
        assert merged.pred_sem_seg.data.dtype == expected.pred_sem_seg.data.dtype


@pytest.mark.parametrize('channels', [1, 5])
def test_views_are_merged_by_their_mean_probability(channels: int) -> None:
    model = Segmentor()
    views = 4 * torch.randn(3, channels, 20, 30)
    (merged,) = SegmentationTTAModel(module=model).merge_preds([list(map(model.sample, views))])
    if channels == 1:
        expected = views.double().sigmoid().mean(0) > 0.3
    else:
        expected = views.double().softmax(1).mean(0).argmax(0, keepdim=True)
    assert torch.equal(merged.pred_sem_seg.data.long(), expected.long())
    assert 'seg_logits' not in merged
