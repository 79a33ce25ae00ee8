"""The rows of a classifier, one a class: which may be predicted, and which may change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vitadapter_dense.continual.errors import ScheduleError

# Names of the layers that give a logit a class, in MMPretrain's, MMSegmentation's and MMDetection's
# heads and in this project's.
LAYERS = ('fc', 'conv_seg', 'fc_cls', 'cls_embed', 'classify', 'conv_cls', 'atss_cls', 'gfl_cls')
LISTS = ('cls_branches', 'aux_cls_branches')  # a layer for each level of a decoder
# What a row that may not be predicted gives. Finite: maps are interpolated, and 0 * inf is NaN;
# within float16; far below any logit.
MASKED = -1e4


class ClassRows:
    """One classifying layer: masks its logits, and holds rows of it as they are.

    Args:
        name: the layer's in the model.
        layer: a linear layer or a convolution.
        trained: (rows,) bool, what the training loss sees.
        predicted: (rows,) bool, what an evaluation sees.
        frozen: (rows,) bool, rows that do not change.

    Attributes:
        keeps_logits: those of a training pass are kept, before masking, until somebody takes them.
    """

    def __init__(
        self, name: str, layer: nn.Module, *, trained: Tensor, predicted: Tensor, frozen: Tensor
    ) -> None:
        self.name, self.layer = name, layer
        self.trained, self.predicted, self.frozen = trained, predicted, frozen
        self.keeps_logits = False
        self._logits: Tensor | None = None
        layer.register_forward_hook(self._mask)
        self._kept = [(p, p.detach()[frozen.to(p.device)].clone()) for p in layer.parameters()]
        if frozen.any():
            for parameter, _ in self._kept:
                if parameter.requires_grad:
                    parameter.register_hook(self._without_frozen)

    @torch.no_grad()
    def put_back(self) -> None:
        """Undoes what an optimiser without gradients does to frozen rows (weight decay)."""
        for parameter, rows in self._kept:
            if len(rows):
                parameter[self.frozen.to(parameter.device)] = rows

    def take_logits(self) -> Tensor:
        """What the layer gave in the last training pass."""
        logits, self._logits = self._logits, None
        return logits

    def frozen_parameters(self) -> int:
        """Numbers in the frozen rows of parameters that train."""
        return sum(rows.numel() for p, rows in self._kept if p.requires_grad)

    def _mask(self, layer: nn.Module, inputs: tuple, logits: Tensor) -> Tensor:
        seen = self.trained if layer.training else self.predicted
        self._logits = logits if layer.training and self.keeps_logits else None
        if seen.all():
            return logits
        return logits.masked_fill(~_beside(seen, logits, layer), MASKED)

    def _without_frozen(self, gradient: Tensor) -> Tensor:
        rows = self.frozen.to(gradient.device).view(-1, *(1,) * (gradient.dim() - 1))
        return gradient.masked_fill(rows, 0)


def find_classifiers(model: nn.Module, num_classes: int) -> dict[str, nn.Module]:
    """The layers with a row a class, and perhaps one for background or no object, by name.

    Raises:
        ScheduleError: there is none, or all have too few rows.
    """
    known = dict(_classifiers(model))
    found = {name: layer for name, layer in known.items() if _rows(layer) - num_classes in (0, 1)}
    if found:
        return found
    for name, layer in known.items():
        if _rows(layer) < num_classes:
            raise ScheduleError(
                f'{name} has {_rows(layer)} rows, and the data set {num_classes} classes: from row '
                f'{_rows(layer)} on there is none for a class. Mend: num_classes={num_classes} in '
                'every head, from the first task on'
            )
    raise ScheduleError(
        f'{type(model).__name__} has no layer with a row for each of {num_classes} classes under a '
        f'name that is known ({", ".join(LAYERS)}, {LISTS[0]}). Mend: a head of that kind; one '
        'with several anchors a place has several rows a class and does not do'
    )


def row_mask(labels: Sequence[int], rows: int, num_classes: int) -> Tensor:
    """(rows,) bool, the labels' rows, and with them that of the background or of no object."""
    mask = torch.zeros(rows, dtype=torch.bool)
    mask[list(labels)] = True
    mask[num_classes:] = True
    return mask


def _classifiers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    objectness = _objectness(model)
    for name, module in model.named_modules():
        if name in objectness:
            continue
        parts = name.split('.')
        known = parts[-1] in LAYERS or parts[-2:-1] in ([listed] for listed in LISTS)
        if known and parts[0].endswith('head') and isinstance(module, (nn.Linear, nn.Conv2d)):
            yield name, module


def _objectness(model: nn.Module) -> list[str]:
    """Layers of the shape of a classifier that tell objects of any class from none.

    Deformable DETR's last one does, by its first row, where proposals come from the encoder.
    """
    names = []
    for name, module in model.named_modules():
        kinds = {kind.__name__ for kind in type(module).__mro__}
        if 'DeformableDETRHead' in kinds and 'DINOHead' not in kinds and module.as_two_stage:
            names.append(f'{name}.{LISTS[0]}.{len(module.cls_branches) - 1}')
    return names


def _rows(layer: nn.Module) -> int:
    return layer.weight.shape[0]


def _beside(rows: Tensor, logits: Tensor, layer: nn.Module) -> Tensor:
    """The mask in the shape of the logits: rows are the last axis, of maps the second."""
    rows = rows.to(logits.device)
    return rows.view(1, -1, 1, 1) if isinstance(layer, nn.Conv2d) else rows
