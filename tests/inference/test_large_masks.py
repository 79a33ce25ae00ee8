"""Masks enlarged one after another make the objects and segments that MMDetection's do."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vitadapter_dense.inference import large_masks
from vitadapter_dense.inference.large_images import bound_memory

FusionHead = pytest.importorskip('mmdet.models.seg_heads').MaskFormerFusionHead
QUERIES, SIZE = 12, (90, 130)


class Largest(TorchDispatchMode):
    """The largest tensor of floating point that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.is_floating_point():
            self.numel = max(self.numel, out.numel())
        return out


def discs() -> Tensor:
    """Logits of masks that overlap here and there, `(2, QUERIES, 24, 32)`."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing='ij')
    places = torch.rand(2, QUERIES, 2, 1, 1)
    away = ((y - 24 * places[:, :, 0]) ** 2 + (x - 32 * places[:, :, 1]) ** 2).sqrt()
    return 5 - away + 0.1 * torch.randn_like(away)


@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize(('iou_thr', 'filter_low_score'), [(0.2, True), (0.6, False)])
def test_they_are_those_of_all_at_once(
    iou_thr: float, filter_low_score: bool, rescale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    test_cfg = dict(panoptic_on=True, instance_on=True, max_per_image=20, object_mask_thr=0.3)
    test_cfg |= dict(iou_thr=iou_thr, filter_low_score=filter_low_score)
    head = FusionHead(3, 2, test_cfg=ConfigDict(test_cfg))
    classes, masks = 3 * torch.randn(2, QUERIES, 6), discs()
    classes[1, :, :5] = -9  # an image of nothing
    shapes = dict(img_shape=(20, 29), ori_shape=SIZE)
    given = classes, masks, [BaseDataElement(metainfo=shapes) for _ in range(2)]
    with Largest() as at_once:
        expected = head.predict(*given, rescale=rescale)
    bound_memory(head)
    with Largest() as untouched:
        head.predict(*given, rescale=rescale)
    assert untouched.numel == at_once.numel  # small images go MMDetection's way
    monkeypatch.setattr(large_masks, 'KEPT_BYTES', 0)
    with Largest() as one_by_one:
        found = head.predict(*given, rescale=rescale)
    height, width = SIZE if rescale else shapes['img_shape']
    assert one_by_one.numel <= max(height * width, masks[0].numel()) < at_once.numel
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(other['pan_results'].sem_seg, one['pan_results'].sem_seg)
        objects, others = one['ins_results'], other['ins_results']
        for name in ('bboxes', 'labels', 'masks'):
            assert torch.equal(objects[name], others[name]), name
        torch.testing.assert_close(objects.scores, others.scores)
    assert len(expected[0]['pan_results'].sem_seg.unique()) > 3
    assert len(expected[0]['ins_results'].masks) > 5
