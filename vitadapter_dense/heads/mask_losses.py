"""``MaskLosses``: what Mask2Former's losses are of predictions that are lists of masks.

Matching, points and losses are Mask2Former's (Cheng et al., https://arxiv.org/abs/2112.01527,
section 3.3); the assigner, its costs and the losses are MMDetection's. All is computed in float32,
whatever autocast says: trained logits lie far from 0, and sums over thousands of points lose
objects in 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.heads.mask_predictor import MaskPrediction

_LARGEST = 1e4  # of logits that are matched


class MaskTarget(NamedTuple):
    """The objects of an image, or its classes.

    Attributes:
        labels: ``(N,)`` class numbers.
        masks: ``(N, H, W)``, of the image with all that was padded to it.
        name: of the image, for messages.
    """

    labels: Tensor
    masks: Tensor
    name: str = 'an image'


class MaskLosses(nn.Module):
    """Losses of predictions against the objects that they are matched with.

    Args:
        num_classes: without 'no object'.
        loss_cls: config of MMDetection's ``CrossEntropyLoss``, with ``class_weight`` for each class
            and for 'no object'.
        loss_mask: config of its ``CrossEntropyLoss`` with ``use_sigmoid=True``.
        loss_dice: config of its ``DiceLoss``.
        assigner: config of its ``HungarianAssigner``.
        num_points: of each mask at which masks are compared.
        oversample_ratio: points drawn for each of them that is chosen by its uncertainty.
        importance_sample_ratio: share that is chosen so; the others stay where they were drawn.

    Raises:
        ImportError: MMDetection is not installed.
        ValueError: weights for another number of classes.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        loss_cls: Mapping[str, Any],
        loss_mask: Mapping[str, Any],
        loss_dice: Mapping[str, Any],
        assigner: Mapping[str, Any],
        num_points: int = 12544,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        try:
            import mmdet.models  # noqa: F401  (registers the losses and the assigner)
        except ImportError as error:
            raise ImportError(
                'mask heads take their losses and their assigner from MMDetection: '
                'pip install onedl-mmdetection'
            ) from error
        self.num_classes = num_classes
        weights = list(loss_cls.get('class_weight') or [1.0] * (num_classes + 1))
        if len(weights) != num_classes + 1:
            raise ValueError(
                f'loss_cls.class_weight has {len(weights)} entries for {num_classes} classes: give '
                f"{num_classes + 1}, one for each class and one for 'no object'"
            )
        self.class_weight = weights
        self.loss_cls = MODELS.build(dict(loss_cls))
        self.loss_mask, self.loss_dice = (
            MODELS.build(dict(loss_mask)),
            MODELS.build(dict(loss_dice)),
        )
        self.assigner = TASK_UTILS.build(dict(assigner))
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio

    def forward(
        self, predictions: Sequence[MaskPrediction], targets: Sequence[MaskTarget]
    ) -> dict[str, Tensor]:
        """Losses of all predictions; names of all but the last one begin with ``d0.``, ``d1.`` ...

        Raises:
            ValueError: an image has more objects than there are queries.
        """
        losses = {}
        with torch.autocast(predictions[0].masks.device.type, enabled=False):
            for number, prediction in enumerate(predictions, start=1):
                prefix = '' if number == len(predictions) else f'd{number - 1}.'
                floats = MaskPrediction(*(each.float() for each in prediction))
                for name, loss in self._losses(floats, targets).items():
                    losses[prefix + name] = loss
        return losses

    def _losses(
        self, prediction: MaskPrediction, targets: Sequence[MaskTarget]
    ) -> dict[str, Tensor]:
        classes, masks = prediction
        matches = [
            self.match(MaskPrediction(*each), target)
            for *each, target in zip(classes, masks, targets, strict=True)
        ]
        labels = torch.full(classes.shape[:2], self.num_classes, device=classes.device)
        for row, target, (queries, objects) in zip(labels, targets, matches, strict=True):
            row[queries] = target.labels[objects]
        loss_cls = self.loss_cls(
            classes.flatten(0, 1),
            labels.flatten(),
            avg_factor=classes.new_tensor(self.class_weight)[labels].sum(),
        )
        chosen = torch.cat([m[queries] for m, (queries, _) in zip(masks, matches, strict=True)])
        count = torch.tensor([float(len(chosen))], device=masks.device)
        if get_world_size() > 1:  # gradients are averaged over the processes
            all_reduce(count, op='mean')
        count = count.clamp(min=1).squeeze()
        if not len(chosen):  # no object in any image: all parameters take part even so
            nothing = masks.sum() * 0
            return dict(loss_cls=loss_cls, loss_mask=nothing, loss_dice=nothing)
        wanted = torch.cat(
            [t.masks[objects].float() for t, (_, objects) in zip(targets, matches, strict=True)]
        )
        with torch.no_grad():
            points = self._points(chosen)
            at_points = sample_points(wanted, points)
        logits = sample_points(chosen, points)
        return dict(
            loss_cls=loss_cls,
            loss_mask=self.loss_mask(
                logits.flatten(), at_points.flatten(), avg_factor=count * self.num_points
            ),
            loss_dice=self.loss_dice(logits, at_points, avg_factor=count),
        )

    @torch.no_grad()
    def match(self, prediction: MaskPrediction, target: MaskTarget) -> tuple[Tensor, Tensor]:
        """Queries and the objects that they are to find, the cheapest pairs.

        Logits that are not finite (float16 overflows) are matched as very large ones: SciPy refuses
        them, and the loss, which is not finite either, is dealt with by ``FiniteLossHook``.

        Args:
            prediction: of one image: classes ``(Q, num_classes + 1)``, masks ``(Q, h, w)``.
            target: of this image.

        Returns:
            numbers of queries and of objects, as many of one as of the other.

        Raises:
            ValueError: more objects than queries.
        """
        classes, masks = (
            each.nan_to_num(0, _LARGEST, -_LARGEST).clamp(-_LARGEST, _LARGEST)
            for each in prediction
        )
        objects = len(target.labels)
        if objects > len(classes):
            raise ValueError(
                f'{target.name} has {objects} objects for {len(classes)} queries, so that some '
                f'would never be learnt: set num_queries={objects} or more'
            )
        points = torch.rand(1, self.num_points, 2, device=masks.device)
        assigned = self.assigner.assign(
            InstanceData(
                scores=classes, masks=sample_points(masks, points.expand(len(masks), -1, -1))
            ),
            InstanceData(
                labels=target.labels,
                masks=sample_points(target.masks.float(), points.expand(objects, -1, -1)),
            ),
            img_meta={},
        ).gt_inds  # 0: none, else an object's number plus 1
        queries = assigned.nonzero().squeeze(1)
        return queries, assigned[queries] - 1

    def _points(self, masks: Tensor) -> Tensor:
        """``(N, num_points, 2)``: where masks are least certain, and some anywhere."""
        from mmdet.models.utils import get_uncertain_point_coords_with_randomness

        return get_uncertain_point_coords_with_randomness(
            masks[:, None],
            None,
            self.num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
        )


def sample_points(masks: Tensor, points: Tensor) -> Tensor:
    """``(N, H, W)`` at points ``(N, P, 2)``, x and y in [0, 1] -> ``(N, P)``, between pixels."""
    if not len(masks):
        return masks.new_zeros(points.shape[:2])
    return F.grid_sample(masks[:, None], points[:, :, None] * 2 - 1, align_corners=False)[
        :, 0, :, 0
    ]
