"""Test-time augmentation of segmentors, of one output channel as of many.

MMSegmentation's `SegTTAModel` takes the sigmoid of what its segmentors have already put through one
where the head has a single channel, and gives the sample of the last view, with that view's logits.
"""

from __future__ import annotations

from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor


@MODELS.register_module()
class SegmentationTTAModel(BaseTTAModel):
    """Takes the class of the largest mean probability over the views of an image.

    The views are at the image's size and turned back already. One view alone gives what the model
    gives without test-time augmentation. The arguments are `BaseTTAModel`'s: `module`, the
    segmentor, and `data_preprocessor`.
    """

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
