"""Segmentors on large images, without the class maps of a whole image in memory.

`EncoderDecoder` of MMSegmentation holds the scores of every class at the image's full size, more
than once: while it adds windows up, when it resizes, and on the data sample. Here they are made a
few rows at a time (`score_rows`), where they would take more than `KEPT_BYTES`. The label map is
the same; the sample then has no `seg_logits`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor, nn

from vitadapter_dense.inference.instance_tta import FLIPPED_DIMS
from vitadapter_dense.inference.large_masks import bound_masks
from vitadapter_dense.inference.score_rows import (
    Box,
    Cut,
    Held,
    OfMasks,
    Resized,
    Scores,
    Windows,
    label_map,
    window_boxes,
)

KEPT_BYTES = 2**28  # class maps of an image (or of its views) that are made whole, and kept
_REPLACED = ('predict', 'inference', 'slide_inference', 'whole_inference', 'postprocess_result')


@HOOKS.register_module()
class LargeImagesHook(Hook):
    """Has segmentors and mask models validate and test on images of any size in bounded memory."""

    def before_run(self, runner: Runner) -> None:
        """Prepares the runner's model."""
        bound_memory(runner.model)


def bound_memory(model: nn.Module) -> None:
    """Has the segmentors within a model predict by rows where class maps would be large.

    Segmentors that predict in another way than MMSegmentation's `EncoderDecoder` stay as they are.
    Mask2Former of objects and segments, and the mask heads: `large_masks`.
    """
    bound_masks(model)
    for module in model.modules():
        if goes_by_rows(module):
            module.predict = partial(_predict, module)


def goes_by_rows(model: nn.Module) -> bool:
    """Whether a segmentor does as `EncoderDecoder` does, so that rows do it too."""
    try:
        from mmseg.models import EncoderDecoder
    except ImportError:  # a detector, without MMSegmentation installed
        return False
    return isinstance(model, EncoderDecoder) and all(
        getattr(type(model), name) is getattr(EncoderDecoder, name) for name in _REPLACED
    )


def _predict(
    model: nn.Module, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None
) -> Sequence[BaseDataElement]:
    if data_samples is None or class_map_bytes(model, inputs, data_samples) <= KEPT_BYTES:
        return type(model).predict(model, inputs, data_samples)
    for sample, scores in zip(data_samples, image_scores(model, inputs, data_samples), strict=True):
        put_label_map(model, sample, [scores])
    return data_samples


def class_map_bytes(
    model: nn.Module, inputs: Tensor, data_samples: Sequence[BaseDataElement]
) -> int:
    """What the class maps of a batch take, as the model sees it or at the images' own size."""
    seen = inputs.shape[-2] * inputs.shape[-1] * len(data_samples)
    own = sum(sample.ori_shape[0] * sample.ori_shape[1] for sample in data_samples)
    return 4 * model.out_channels * max(seen, own)


def put_label_map(model: nn.Module, sample: BaseDataElement, views: Sequence[Scores]) -> None:
    """Puts the class of each pixel on a data sample."""
    threshold = getattr(model.decode_head, 'threshold', None)
    sample.set_data({'pred_sem_seg': PixelData(data=label_map(views, threshold=threshold))})


def image_scores(
    model: nn.Module, inputs: Tensor, data_samples: Sequence[BaseDataElement]
) -> list[Scores]:
    """Scores of each image of a batch at its own size, before softmax or sigmoid."""
    metas = [sample.metainfo for sample in data_samples]
    size = tuple(inputs.shape[-2:])
    if model.test_cfg.get('mode', 'whole') == 'slide':
        crop, stride = model.test_cfg.crop_size, model.test_cfg.stride
        windows = Windows(
            window_boxes(size, crop, stride),
            partial(_of_window, model, inputs, metas),
            (len(metas), model.out_channels, *size),
        )
        found = windows.scores()
    else:
        first = metas[0]
        found = _of_images(model, inputs, metas, first.get('pad_shape', first['img_shape'])[:2])
    return [
        Resized(
            _without_padding(scores, meta), meta['ori_shape'][:2], align_corners=model.align_corners
        )
        for scores, meta in zip(found, metas, strict=True)
    ]


def _of_window(
    model: nn.Module, inputs: Tensor, metas: Sequence[Mapping[str, Any]], box: Box
) -> list[Scores]:
    window = inputs[..., box.top : box.bottom, box.left : box.right]
    size = window.shape[-2:]
    return _of_images(model, window, [dict(meta, img_shape=size) for meta in metas], size)


def _of_images(
    model: nn.Module, images: Tensor, metas: list[dict[str, Any]], size: Sequence[int]
) -> list[Scores]:
    """Scores at a size, of what the head gives before it resizes that, where this is known."""
    from mmseg.models import EncoderDecoder
    from mmseg.models.decode_heads import Mask2FormerHead
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead
    from mmseg.structures import SegDataSample

    head = model.decode_head
    if type(model).encode_decode is not EncoderDecoder.encode_decode:
        return [Held(scores) for scores in model.encode_decode(images, metas)]
    features = model.extract_feat(images)
    if hasattr(head, 'class_masks'):
        classes, masks, covered = head.class_masks(features)
    elif getattr(type(head), 'predict', None) is Mask2FormerHead.predict:
        samples = [SegDataSample(metainfo=meta) for meta in metas]
        classes, masks = (levels[-1] for levels in head(features, samples))
        classes, covered = classes.softmax(-1)[..., :-1], size
    elif isinstance(head, BaseDecodeHead) and all(
        getattr(type(head), name) is getattr(BaseDecodeHead, name)
        for name in ('predict', 'predict_by_feat')
    ):
        return [
            Resized(Held(scores), size, align_corners=head.align_corners)
            for scores in head.forward(features)
        ]
    else:
        return [Held(scores) for scores in head.predict(features, metas, model.test_cfg)]
    beyond = (0, covered[1] - size[1], 0, covered[0] - size[0])
    return [
        OfMasks(own, Cut(Resized(Held(each), covered, align_corners=False), beyond))
        for own, each in zip(classes, masks, strict=True)
    ]


def _without_padding(scores: Scores, meta: Mapping[str, Any]) -> Scores:
    padding = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
    flipped = FLIPPED_DIMS[meta['flip_direction']] if meta.get('flip') else ()
    return Cut(scores, padding, flipped=flipped)
