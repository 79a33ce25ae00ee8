"""`--out x.pkl`: labels and detections, not logits; on the disk while the test goes on."""

from __future__ import annotations

import gc
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from vitadapter_dense.reports.dump_predictions import DumpPredictions
from vitadapter_dense.reports.output_files import RECORD, OutputError


def segmented(labels: torch.Tensor, classes: int) -> dict:
    sample = BaseDataElement(metainfo=dict(img_path='a.jpg', ori_shape=labels.shape[1:]))
    sample.pred_sem_seg = PixelData(data=labels)
    sample.gt_sem_seg = PixelData(data=labels)
    sample.seg_logits = PixelData(data=torch.zeros(classes, *labels.shape[1:]))
    return sample.to_dict()


def dumped(out: Path, samples: list[dict]) -> list[dict]:
    metric = DumpPredictions(str(out))
    for sample in samples:
        metric.process({}, [sample])
    assert metric.evaluate(size=len(samples)) == {}
    assert sorted(os.listdir(out.parent)) == [RECORD, out.name]
    return pickle.loads(out.read_bytes())


def test_label_maps_take_a_byte_a_pixel(tmp_path: Path) -> None:
    many = torch.arange(64 * 64).reshape(1, 64, 64) % 150
    one = (torch.rand(1, 30, 40) > 0.5).float()  # a single channel behind a sigmoid
    large = many + 200
    found = dumped(tmp_path / 'x.pkl', [segmented(labels, 150) for labels in (many, one, large)])
    assert (tmp_path / 'x.pkl').stat().st_size < (64 * 64 + 30 * 40 + 4 * 64 * 64) * 1.2 + 6000
    types = [sample['pred_sem_seg']['data'].dtype for sample in found]
    assert types == [torch.uint8, torch.uint8, torch.int32]
    for sample, labels in zip(found, (many, one, large), strict=True):
        assert torch.equal(sample['pred_sem_seg']['data'].to(labels), labels)
        assert sample['img_path'] == 'a.jpg'
        assert sample.keys() == {'img_path', 'ori_shape', 'pred_sem_seg'}


def test_detections_stay_and_masks_become_rle(tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    boxes, masks = torch.rand(9, 4), torch.rand(3, 20, 30) > 0.5
    samples = []
    for part in (slice(0, 3), slice(0, 0)):
        sample = BaseDataElement(metainfo=dict(img_id=7))
        sample.pred_instances = InstanceData(bboxes=boxes[part], masks=masks[part])
        sample.gt_instances = InstanceData(bboxes=boxes)
        samples.append(sample.to_dict())
    found, empty = dumped(tmp_path / 'x.pickle', samples)
    assert found.keys() == {'img_id', 'pred_instances'}
    assert torch.equal(found['pred_instances']['bboxes'], boxes[:3])
    decoded = np.stack([coco_mask.decode(rle) for rle in found['pred_instances']['masks']])
    assert (decoded == masks.numpy()).all()
    assert empty['pred_instances']['masks'] == []
    assert isinstance(samples[0]['pred_instances']['masks'], torch.Tensor)  # others read it too


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    metric = DumpPredictions(str(tmp_path / 'x.pkl'))
    sample = segmented(torch.zeros(1, 400, 500, dtype=torch.long), 2)
    tracemalloc.start()
    for _ in range(30):
        metric.process({}, [sample])
    gc.collect()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    metric.evaluate(size=30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert before < 0.5e6  # one map takes 0.2e6
    assert peak - before < 2e6


def test_file_of_another_hand_is_refused_before_the_test(tmp_path: Path) -> None:
    (tmp_path / 'x.pkl').write_text('of the user')
    with pytest.raises(OutputError, match=r'x\.pkl'):
        DumpPredictions(str(tmp_path / 'x.pkl'))
