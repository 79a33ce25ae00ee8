"""What of a model goes into an exported file: tensors in, tensors out."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from vitadapter_dense.export.dense_detectors import DenseGraph
from vitadapter_dense.export.detectors import RCNNGraph
from vitadapter_dense.export.mask_detectors import ObjectMaskGraph
from vitadapter_dense.export.query_detectors import DeformableDETRGraph, DINOGraph
from vitadapter_dense.export.unknown_size import UnknownSize


class Graph(Protocol):
    """A module of tensors, and what it calls them."""

    task: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    @property
    def num_classes(self) -> int: ...

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]: ...


class SegmentorGraph(nn.Module):
    """Normalised images `(B, 3, H, W)` -> logits `(B, C, H, W)`, of an image or a slide window.

    Args:
        model: an `EncoderDecoder` of MMSegmentation.
    """

    task = 'semantic'
    input_names = ('images',)
    output_names = ('logits',)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def num_classes(self) -> int:
        """Two, where one score tells them apart."""
        return max(self.model.out_channels, 2)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """The scores of every class at every pixel, before they are compared."""
        size = UnknownSize(images.shape[2:])
        return (self.model.encode_decode(images, [dict(img_shape=size, ori_shape=size)]),)


def graph_of(model: nn.Module) -> nn.Module:
    """The graph of a model.

    Raises:
        ValueError: a model or a part of a kind that there is no graph for.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if 'EncoderDecoder' in kinds and hasattr(model, 'decode_head'):
        return SegmentorGraph(model)
    if 'TwoStageDetector' in kinds and hasattr(model, 'roi_head'):
        return RCNNGraph(model)
    if type(model).__name__ == 'DINO':
        return DINOGraph(model)
    if type(model).__name__ == 'DeformableDETR':
        return DeformableDETRGraph(model)
    if type(model).__name__ in ('ATSS', 'GFL'):
        return DenseGraph(model)
    if 'MaskFormer' in kinds and hasattr(model, 'panoptic_fusion_head'):
        return ObjectMaskGraph(model)
    raise ValueError(
        f'{type(model).__name__} cannot be exported: there are graphs for EncoderDecoder '
        f'(segmentors), Mask R-CNN, Cascade, HTC, ATSS, GFL, DINO, Deformable DETR and, of '
        f'objects, Mask2Former'
    )
