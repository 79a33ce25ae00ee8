"""Heads of both toolboxes on a mask decoder: ``SemanticMaskHead`` and ``ObjectMaskHead``.

They stand where Mask2Former's head would: in MMSegmentation's ``EncoderDecoder`` the first, in
MMDetection's ``Mask2Former`` the second. The decoder (``PlainMaskDecoder`` or
``EncoderOnlyDecoder``) says what queries find, they say what there is to be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from vitadapter_dense.heads.mask_losses import MaskLosses, MaskTarget
from vitadapter_dense.heads.mask_predictor import MaskPrediction


class MaskHead(BaseModule):
    """What both heads have in common.

    Args:
        num_classes: without 'no object'.
        num_queries: of the decoder.
        decoder: its config.
        losses: arguments of :class:`~vitadapter_dense.heads.MaskLosses` but the losses.
    """

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        decoder: Mapping[str, Any],
        *,
        losses: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.num_classes, self.num_queries = num_classes, num_queries
        self.decoder = MODELS.build(dict(decoder, num_classes=num_classes, num_queries=num_queries))
        self.losses = MaskLosses(num_classes, **losses)

    def forward(self, features: Any, data_samples: Any = None) -> list[MaskPrediction]:
        """Predictions of the decoder from what the backbone gives; the last one is what counts."""
        return self.decoder(features)

    def _losses(
        self, features: Any, targets: Sequence[MaskTarget], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Losses of a batch whose images have a size.

        Raises:
            ValueError: the decoder's map has another stride than it was told.
        """
        predictions = self.decoder(features)
        covered = self._covered(predictions[-1].masks)
        stride = self.decoder.stride
        if any(not 0 <= own - side < stride for own, side in zip(covered, size, strict=True)):
            raise ValueError(
                f'{type(self.decoder).__name__} has stride={stride}, so that its map would be of '
                f'{covered[0]} x {covered[1]} pixels, but the images have {size[0]} x {size[1]}: '
                f'set stride to the pixels of a cell of the map, the patch size of a plain ViT '
                f'(and in_strides, where the backbone gives maps of several strides)'
            )
        return self.losses(
            predictions, [t._replace(masks=_padded(t.masks, covered)) for t in targets]
        )

    def _predict(self, features: Any, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Logits of classes and, for images of a size, of masks."""
        classes, masks = self.decoder(features)[-1]
        masks = F.interpolate(masks.float(), self._covered(masks), mode='bilinear')
        return classes.float(), masks[:, :, : size[0], : size[1]]

    def _covered(self, masks: Tensor) -> tuple[int, int]:
        """Pixels under masks: whole patches, of which the last may lie beyond the image."""
        doublings = len(self.decoder.predictor.upscale)
        height, width = masks.shape[-2:]
        return height * self.decoder.stride >> doublings, width * self.decoder.stride >> doublings


def _padded(masks: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = masks.shape[-2:]
    return F.pad(masks, (0, max(size[1] - width, 0), 0, max(size[0] - height, 0)))


@MODELS.register_module()
class SemanticMaskHead(MaskHead):
    """Semantic segmentation: a mask for each class that an image has.

    Args:
        num_classes: of the data.
        num_queries: as many classes as an image may have, or more.
        decoder: config of the decoder, without classes and queries.
        loss_cls: and the others: see :class:`~vitadapter_dense.heads.MaskLosses`.
        train_cfg: ``assigner``, ``num_points`` and the like, likewise.
        ignore_index: label of pixels that are of no class.
        align_corners: MMSegmentation's, when it brings scores to the size of the image.
    """

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        decoder: Mapping[str, Any],
        *,
        loss_cls: Mapping[str, Any],
        loss_mask: Mapping[str, Any],
        loss_dice: Mapping[str, Any],
        train_cfg: Mapping[str, Any],
        ignore_index: int = 255,
        align_corners: bool = False,
    ) -> None:
        losses = dict(train_cfg, loss_cls=loss_cls, loss_mask=loss_mask, loss_dice=loss_dice)
        super().__init__(num_classes, num_queries, decoder, losses=losses)
        self.out_channels, self.ignore_index = num_classes, ignore_index
        self.align_corners = align_corners

    def loss(self, features: Any, data_samples: Sequence[Any], train_cfg: Any) -> dict[str, Tensor]:
        """Losses of a batch, as ``EncoderDecoder`` asks for them."""
        targets = [self._target(sample) for sample in data_samples]
        height, width = targets[0].masks.shape[-2:]  # padded with the images
        return self._losses(features, targets, (height, width))

    def _target(self, sample: Any) -> MaskTarget:
        labels = sample.gt_sem_seg.data.squeeze(0)  # (H, W)
        present = labels.unique()
        present = present[present != self.ignore_index].long()
        return MaskTarget(present, labels == present[:, None, None], _name_of(sample))

    def predict(
        self, features: Any, batch_img_metas: Sequence[Mapping[str, Any]], test_cfg: Any
    ) -> Tensor:
        """``(B, num_classes, H, W)`` scores, the masks of all queries times their classes."""
        meta = batch_img_metas[0]
        size = meta['img_shape']  # of a window, where MMSegmentation slides
        if (test_cfg or {}).get('mode') != 'slide':
            size = meta.get('pad_shape', size)
        height, width = size[:2]
        classes, masks, covered = self.class_masks(features)
        masks = F.interpolate(masks, covered, mode='bilinear')[:, :, :height, :width]
        return torch.einsum('bqc,bqhw->bchw', classes, masks.sigmoid())

    def class_masks(self, features: Any) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """What the scores are made of.

        Returns:
            Probabilities of classes ``(B, Q, num_classes)``, logits of masks ``(B, Q, h, w)``, and
            the pixels that these cover.
        """
        classes, masks = self.decoder(features)[-1]
        return classes.float().softmax(-1)[..., :-1], masks.float(), self._covered(masks)


@MODELS.register_module()
class ObjectMaskHead(MaskHead):
    """Instances, or instances and stuff: MMDetection's ``panoptic_head``.

    Args:
        num_things_classes: countable classes, the first ones.
        num_stuff_classes: the others; 0 for instances alone.
        num_queries: as many segments as an image may have, or more.
        decoder: config of the decoder, without classes and queries.
        loss_cls: and the others: see :class:`~vitadapter_dense.heads.MaskLosses`.
        train_cfg: ``assigner``, ``num_points`` and the like, likewise.
        test_cfg: of the fusion head; nothing here.
    """

    def __init__(
        self,
        num_things_classes: int,
        num_stuff_classes: int,
        num_queries: int,
        decoder: Mapping[str, Any],
        *,
        loss_cls: Mapping[str, Any],
        loss_mask: Mapping[str, Any],
        loss_dice: Mapping[str, Any],
        train_cfg: Mapping[str, Any],
        test_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        losses = dict(train_cfg, loss_cls=loss_cls, loss_mask=loss_mask, loss_dice=loss_dice)
        super().__init__(
            num_things_classes + num_stuff_classes, num_queries, decoder, losses=losses
        )
        self.num_things_classes, self.num_stuff_classes = num_things_classes, num_stuff_classes

    def loss(self, features: Any, data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """Losses of a batch, as ``Mask2Former`` asks for them."""
        targets = [self._target(sample) for sample in data_samples]
        size = tuple(data_samples[0].metainfo['batch_input_shape'])
        return self._losses(features, targets, size)

    def _target(self, sample: Any) -> MaskTarget:
        objects = sample.gt_instances
        labels, masks = objects.labels, objects.masks.to_tensor(torch.bool, objects.labels.device)
        if 'gt_sem_seg' in sample and self.num_stuff_classes:
            stuff = sample.gt_sem_seg.sem_seg.squeeze(0)
            present = stuff.unique().long()
            present = present[(present >= self.num_things_classes) & (present < self.num_classes)]
            labels = torch.cat([labels, present])
            masks = torch.cat([masks, stuff == present[:, None, None]])
        return MaskTarget(labels, masks, _name_of(sample))

    def predict(self, features: Any, data_samples: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Logits of classes ``(B, Q, num_classes + 1)`` and masks ``(B, Q, H, W)``."""
        return self._predict(features, tuple(data_samples[0].metainfo['batch_input_shape']))


def _name_of(sample: Any) -> str:
    return str(sample.metainfo.get('img_path', 'an image'))
