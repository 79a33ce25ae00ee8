"""Test-time augmentation of segmentors, of one output channel as of many.

MMSegmentation's `SegTTAModel` takes the sigmoid of what its segmentors have already put through one
where the head has a single channel, and gives the sample of the last view, with that view's logits.
"""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor

from vitadapter_dense.inference.large_images import (
    KEPT_BYTES,
    class_map_bytes,
    goes_by_rows,
    image_scores,
    put_label_map,
)


@MODELS.register_module()
class SegmentationTTAModel(BaseTTAModel):
    """Takes the class of the largest mean probability over the views of an image.

    The views are at the image's size and turned back already. One view alone gives what the model
    gives without test-time augmentation. The arguments are `BaseTTAModel`'s: `module`, the
    segmentor, and `data_preprocessor`. Where the class maps of all views would be large, they are
    merged a few rows at a time.
    """

    def test_step(self, data: dict[str, Any]) -> list[BaseDataElement]:
        """Predicts on every view, and merges."""
        segmentor = self.module.module if is_model_wrapper(self.module) else self.module
        if not goes_by_rows(segmentor):
            return super().test_step(data)
        views = [
            segmentor.data_preprocessor(dict(zip(data, view, strict=True)), False)
            for view in zip(*data.values(), strict=True)
        ]
        needed = sum(class_map_bytes(segmentor, **view) for view in views)
        if needed <= KEPT_BYTES:
            samples = [segmentor._run_forward(view, mode='predict') for view in views]
            return self.merge_preds(list(zip(*samples, strict=True)))
        scores = [image_scores(segmentor, **view) for view in views]
        images = views[0]['data_samples']
        for sample, views_of_image in zip(images, zip(*scores, strict=True), strict=True):
            put_label_map(segmentor, sample, views_of_image)
        return images

    def merge_preds(self, data_samples_list: list[list[BaseDataElement]]) -> list[BaseDataElement]:
        """Merges, image by image, the data samples of its views."""
        return [self._merge_views(samples) for samples in data_samples_list]

    def _merge_views(self, samples: list[BaseDataElement]) -> BaseDataElement:
        merged = samples[0]
        if len(samples) == 1:
            return merged
        total = _probabilities(samples[0].seg_logits.data)
        for sample in samples[1:]:
            total = total + _probabilities(sample.seg_logits.data)
        if len(total) == 1:
            found = (total / len(samples) > self.module.decode_head.threshold).to(total)
        else:
            found = total.argmax(dim=0, keepdim=True)
        del merged.seg_logits  # of one view
        merged.pred_sem_seg = PixelData(data=found)
        return merged


def _probabilities(logits: Tensor) -> Tensor:
    """(C, H, W) of a data sample; a single channel has been through its sigmoid."""
    return logits if len(logits) == 1 else logits.softmax(dim=0)
