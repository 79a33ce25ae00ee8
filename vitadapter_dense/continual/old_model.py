"""``OldModel``: the model as the last task left it, from which the next one learns what it knew.

LwF on the outputs (Li and Hoiem, ECCV 2016): the new model's logits of earlier classes are held at
the old one's. Pseudo-labels (PLOP, Douillard et al., CVPR 2021, with a threshold on the probability
in place of its entropy): where the old model is sure of an earlier class in what is labelled as
background, the pixel gets that label.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitadapter_dense.continual.class_rows import find_classifiers, row_mask
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.start_task import start_task
from vitadapter_dense.datasets.load_seg_map import IGNORED

AUXILIARY = 'auxiliary'  # heads that a prediction does not use


def taught_layer(model: nn.Module, num_classes: int) -> str:
    """Name of the layer whose logits an old model teaches.

    Raises:
        ScheduleError: a model without logits of one layer, an image or a pixel.
    """
    found = find_classifiers(model, num_classes)
    names = [name for name in found if not name.startswith(AUXILIARY)]
    if len(names) != 1:
        raise ScheduleError(
            f'distill and pseudo_labels compare the logits of one layer, and '
            f'{type(model).__name__} has {", ".join(names)}. Mend: leave them out for this model'
        )
    if names[0].startswith('decode_head') and isinstance(found[names[0]], nn.Linear):
        raise ScheduleError(
            f'distill and pseudo_labels compare logits of pixels, and {names[0]} gives those of '
            'queries. Mend: leave them out for this model'
        )
    return names[0]


def frozen_copy(model: nn.Module, state: Mapping[str, Tensor], task: int) -> nn.Module:
    """A copy of a model as a task has left it, which does not change any more.

    Args:
        model: without its wrappers.
        state: its weights after the task.
        task: the task's number.
    """
    copied = copy.deepcopy(model)
    start_task(copied, task)
    copied.load_state_dict(state)
    return copied.eval().requires_grad_(False)


class OldModel:
    """A frozen copy of a model with the weights of the last task.

    It is no part of the model that trains: no checkpoint has it, no optimiser sees it.

    Args:
        model: which trains, without its wrappers; it is copied.
        state: weights after the last task.
        task: the last task's number.
        num_classes: of the data set.
        known: labels that it knows, the background's among them.

    Raises:
        ScheduleError: a model without logits of one layer.
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
        self.name, self.known = taught_layer(self.model, num_classes), list(known)
        layer = self.model.get_submodule(self.name)
        # as the head's loss enlarges its logits
        head = self.model.get_submodule(self.name.rpartition('.')[0])
        self._align_corners = bool(getattr(head, 'align_corners', False))
        self._mask = row_mask(known, layer.weight.shape[0], num_classes)
        self._logits: Tensor | None = None
        layer.register_forward_hook(self._keep)

    @torch.no_grad()
    def look(self, images: Tensor) -> Tensor:
        """The logits of all rows, (B, K) or (B, K, h, w), for images as the model gets them."""
        self.model(images, mode='tensor')
        logits, self._logits = self._logits, None
        return logits

    def _keep(self, layer: nn.Module, inputs: tuple, logits: Tensor) -> None:
        self._logits = logits

    def distillation(self, old: Tensor, new: Tensor, *, temperature: float) -> Tensor:
        """How far the new logits of known classes are from the old ones.

        Args:
            old: as `look` gives them.
            new: of the same layer of the model that trains, before masking.
            temperature: of both softmaxes; its square brings the gradients back to their size.
        """
        rows = self._mask.nonzero()[:, 0].to(new.device)
        target = (old.index_select(1, rows).float() / temperature).softmax(dim=1)
        found = (new.index_select(1, rows).float() / temperature).log_softmax(dim=1)
        # a mean over samples, or over pixels
        apart = (target * (target.clamp_min(1e-12).log() - found)).sum(dim=1)
        return temperature**2 * apart.mean()

    @torch.no_grad()
    def label_pixels(
        self, old: Tensor, data_samples: Sequence[Any], *, threshold: float, background: int | None
    ) -> None:
        """Gives pixels of the background, or ignored ones, the class that the old model is sure of.

        Args:
            old: as `look` gives them.
            data_samples: of the batch; their maps are replaced.
            threshold: a probability that must be exceeded.
            background: its label; None where other pixels are ignored.
        """
        other = IGNORED if background is None else background
        for logits, sample in zip(old, data_samples, strict=True):
            labels = sample.gt_sem_seg.data
            scores = nn.functional.interpolate(
                logits[None].float(),
                labels.shape[-2:],
                mode='bilinear',
                align_corners=self._align_corners,
            )
            masked = ~self._mask.to(scores.device)[:, None, None]
            sure, found = scores[0].masked_fill(masked, -torch.inf).softmax(dim=0).max(dim=0)
            takes = (labels[0] == other) & (sure > threshold)
            height, width = sample.metainfo.get('img_shape', takes.shape)[:2]
            takes[height:] = False  # padding
            takes[:, width:] = False
            sample.gt_sem_seg.data = torch.where(takes, found.to(labels.dtype), labels[0])[None]
