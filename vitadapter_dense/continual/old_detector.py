"""``OldDetector``: the detector as the last task left it, which labels the objects that it knows.

What a task does not label would teach that earlier objects are background. The labels that the
last model gives them are the usual remedy (CL-DETR, Liu et al., CVPR 2023; MD-DETR, Bhatt et al.,
ECCV 2024); that it takes the network's own predictions, whatever the network, is ours, and so is
how much two boxes may overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, clip_boxes_to_image, nms, remove_small_boxes

from vitadapter_dense.continual.class_rows import ClassRows, find_classifiers, row_mask
from vitadapter_dense.continual.old_model import frozen_copy

OVERLAP = 0.7  # IoU above which two boxes are of one object, whatever their classes
SMALLEST = 1.0  # pixels, as COCO's data sets have it: losses take the logarithm of a box's sides


class OldDetector:
    """A frozen copy of a detector with the weights of the last task.

    It is no part of the model that trains, and predicts as in the evaluation after the last task.

    Args:
        model: which trains, without its wrappers; it is copied.
        state: weights after the last task.
        task: the last task's number.
        num_classes: of the data set.
        known: labels that it knows.

    Raises:
        ScheduleError: a model without a row for each class.
    """

    def __init__(
        self,
        model: nn.Module,
        state: Mapping[str, Tensor],
        *,
        task: int,
        num_classes: int,
        known: Sequence[int],
    ) -> None:
        self.model = frozen_copy(model, state, task)
        self._known = torch.tensor(known)
        for name, layer in find_classifiers(self.model, num_classes).items():
            rows = row_mask(known, layer.weight.shape[0], num_classes)
            ClassRows(name, layer, trained=rows, predicted=rows, frozen=torch.zeros_like(rows))

    @torch.no_grad()
    def label_objects(
        self, images: Tensor, data_samples: Sequence[Any], *, threshold: float
    ) -> int:
        """Gives objects that nobody labelled the class that the old model is sure of.

        Left out is what overlaps a labelled object, or one that the model is surer of, and what is
        of the image less than a pixel wide or high.

        Args:
            images: as the model gets them.
            data_samples: of the batch; their instances are replaced. Boxes, and masks where labels
                and model have them, are of the images that are given, after all augmentation.
            threshold: a score that must be exceeded.

        Returns:
            how many were labelled.
        """
        # as in an evaluation: under mixed precision boxes would be rounded to whole pixels
        with torch.autocast(images.device.type, enabled=False):
            found = self.model(images, [_as_it_is(one) for one in data_samples], mode='predict')
        number = 0
        for sample, prediction in zip(data_samples, found, strict=True):
            given, told = sample.gt_instances, prediction.pred_instances
            known = torch.isin(told.labels, self._known.to(told.labels.device))
            told = told[known & (told.scores > threshold)]
            told.bboxes = clip_boxes_to_image(told.bboxes, sample.img_shape[:2])
            told = told[remove_small_boxes(told.bboxes, SMALLEST)]
            told = told[nms(told.bboxes.float(), told.scores.float(), OVERLAP)]
            told = told[(box_iou(told.bboxes, given.bboxes) <= OVERLAP).all(dim=1)]
            sample.gt_instances = _joined(given, told)
            number += len(told)
        return number


def _as_it_is(sample: Any) -> Any:
    """A sample without labels whose image counts as never resized or cropped.

    Predictions are then of the image that the model sees, and no other.
    """
    bare = type(sample)(metainfo=sample.metainfo)
    bare.set_metainfo(dict(ori_shape=sample.img_shape, scale_factor=(1.0, 1.0)))
    return bare


def _joined(given: Any, told: Any) -> Any:
    """Labelled objects, and behind them those that a model has found."""
    both = dict(
        bboxes=torch.cat([given.bboxes, told.bboxes.to(given.bboxes)]),
        labels=torch.cat([given.labels, told.labels.to(given.labels)]),
    )
    if 'masks' in given and 'masks' in told:
        from mmdet.structures.mask import BitmapMasks

        masks = told.masks.cpu().numpy().astype(np.uint8)
        height, width = given.masks.height, given.masks.width
        padded = np.zeros((len(masks), height, width), np.uint8)
        padded[:, : masks.shape[1], : masks.shape[2]] = masks[:, :height, :width]
        both['masks'] = BitmapMasks(
            np.concatenate([given.masks.to_ndarray(), padded]), height, width
        )
    return type(given)(**both)
