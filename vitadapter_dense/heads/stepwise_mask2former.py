"""``StepwiseMask2FormerHead``: Mask2Former to which further classes can be added step by step.

Queries of each step go through the frozen decoder by themselves (ECLIPSE, see
:mod:`vitadapter_dense.heads.query_step`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.mixin import Mixin, mixed_class
from vitadapter_dense.heads.query_step import QueryStep, weigh_no_object

# A class that a query cannot be of; within float16, and far below any logit.
_NEVER = -1e4


class _Maps(NamedTuple):
    """What the decoder looks at: of each level, from the coarsest on, places and their size."""

    pixels: Tensor
    memories: list[Tensor]
    places: list[Tensor]
    sizes: list[tuple[int, int]]


@MODELS.register_module()
class StepwiseMask2FormerHead(Mixin):
    """The ``Mask2FormerHead`` of a toolbox, with queries and heads for classes that come later.

    With ``num_classes`` it is MMSegmentation's, with ``num_things_classes`` MMDetection's. Before
    the first later step it computes what that does; the parameters of the steps rest.
    `tools/train_continual.py` tells it the groups and when a task begins.

    Args:
        new_classes: how many classes each later step brings.
        step_queries: queries of a later step.
        deltas: how each step's share of no object is weighed in an evaluation, the first's and the
            later ones' (:func:`~vitadapter_dense.heads.query_step.weigh_no_object`); the last
            stands for those that follow.
        head: arguments of the toolbox's head; its classes are all, those of later steps too.

    Raises:
        ValueError: numbers that do not fit.
    """

    name_prefix = 'Stepwise'
    learns_old_classes = False  # labels of earlier classes are left out of a later step's loss

    def __new__(cls, *args: Any, **kwargs: Any) -> StepwiseMask2FormerHead:
        """A head whose class is made on the fly of this one and the toolbox's."""
        if cls is not StepwiseMask2FormerHead:
            return super().__new__(cls)
        if 'num_classes' in kwargs:
            from mmseg.models.decode_heads import Mask2FormerHead
        else:
            from mmdet.models.dense_heads import Mask2FormerHead
        return super().__new__(mixed_class(cls, Mask2FormerHead))

    def __init__(
        self,
        *,
        new_classes: Sequence[int],
        step_queries: int = 10,
        deltas: Sequence[float] = (0.0,),
        **head: Any,
    ) -> None:
        super().__init__(**head)
        self.new_classes, self.step_queries, self.deltas = new_classes, step_queries, deltas
        self._check()
        self.new_classes, self.deltas = list(new_classes), list(deltas)
        self._first_queries = self.num_queries
        layers = self.num_transformer_decoder_layers
        self.steps = nn.ModuleList(
            QueryStep(step_queries, layers, self.mask_embed, number) for number in new_classes
        )
        self.register_buffer('task', torch.tensor(0))
        self.register_buffer('task_of_class', torch.zeros(self.num_classes, dtype=torch.long))

    def _check(self) -> None:
        for name, one in (('new_classes', '[10, 10]'), ('deltas', '[0.1, 0.7]')):
            if not isinstance(getattr(self, name), (list, tuple)):
                raise ValueError(
                    f'{name}={getattr(self, name)!r}: it is a list, as {one}, of which each step '
                    'has one'
                )
        if not all(type(number) is int and number >= 1 for number in self.new_classes):
            raise ValueError(
                f'new_classes={self.new_classes}: whole numbers; a step brings a class at least'
            )
        if sum(self.new_classes) >= self.num_classes:
            raise ValueError(
                f'new_classes={self.new_classes} are {sum(self.new_classes)}, and the head has '
                f'{self.num_classes} classes in all: none is left for the first task'
            )
        segments = hasattr(self, 'align_corners')  # at most one mask a class in an image
        least = max(self.new_classes, default=1) if segments else 1
        if type(self.step_queries) is not int or self.step_queries < least:
            raise ValueError(
                f'step_queries={self.step_queries!r}: a step brings up to {least} classes, and an '
                f'image may have them all. Set step_queries={least} or more'
            )
        numbers = all(isinstance(delta, (int, float)) for delta in self.deltas)
        if not (self.deltas and numbers and all(-1 <= delta <= 1 for delta in self.deltas)):
            raise ValueError(
                f'deltas={self.deltas}: numbers from -1 to 1, one at least; (0.1, 0.7) are 0.1 for '
                'the first task and 0.7 for all others'
            )

    # ------------------------------------------------------- what a sequence of tasks asks for

    def set_groups(self, groups: Sequence[Sequence[int]]) -> None:
        """Takes the labels of each task.

        Args:
            groups: of all tasks. A single one is learnt as a whole, as the toolbox's head does.

        Raises:
            ValueError: the head was built for others.
        """
        sizes = [len(labels) for labels in groups[1:]]
        if sizes and sizes != self.new_classes:
            raise ValueError(
                f'the later tasks bring {sizes} classes, and the mask head was built for '
                f'new_classes={self.new_classes}. Mend: new_classes={sizes}'
            )
        for task, labels in enumerate(groups):
            self.task_of_class[list(labels)] = task

    def start_task(self, index: int) -> None:
        """Has a task's queries train, which begin as the first ones.

        The others rest from here on only: an optimiser that was built before must know them all.
        """
        self.task.fill_(index)
        self.num_queries = self.step_queries if index else self._first_queries
        for number, step in enumerate(self.steps, start=1):
            step.requires_grad_(number == index)
        if index:
            self.steps[index - 1].start_from(self)

    def task_modules(self, index: int) -> list[nn.Module]:
        """What alone trains in a task after the first."""
        return [self.steps[index - 1]]

    # ------------------------------------------------------- the head

    def forward(self, x: Sequence[Tensor], batch_data_samples: Any) -> tuple[list[Tensor], ...]:
        """Logits of classes and masks.

        Returns:
            of a list each: in the first task the toolbox's own; later, in training those of the
            task's queries after each layer, and in an evaluation those of all tasks so far, after
            the last.
        """
        task = int(self.task)
        if task == 0:
            return super().forward(x, batch_data_samples)
        maps = self._maps(x)
        if self.training:
            found = self._decode(maps, task)
            classes = [self._spread(self._logits(queries, task), task) for queries, _ in found]
            return classes, [masks for _, masks in found]
        found = [self._decode(maps, index)[-1] for index in range(task + 1)]
        classes = [self._merged(queries, index) for index, (queries, _) in enumerate(found)]
        return [torch.cat(classes, 1)], [torch.cat([masks for _, masks in found], 1)]

    def loss_by_feat(
        self,
        all_cls_scores: Sequence[Tensor],
        all_mask_preds: Sequence[Tensor],
        batch_gt_instances: Sequence[Any],
        batch_img_metas: Sequence[Any],
    ) -> dict[str, Tensor]:
        """The toolbox's losses, of the task's own classes; others have queries already."""
        task = int(self.task)
        if task:
            batch_gt_instances = [
                objects[self.task_of_class[objects.labels.long()] == task]
                for objects in batch_gt_instances
            ]
        return super().loss_by_feat(
            all_cls_scores, all_mask_preds, batch_gt_instances, batch_img_metas
        )

    def _maps(self, x: Sequence[Tensor]) -> _Maps:
        pixels, memories = self.pixel_decoder(x)
        memories = memories[: self.num_transformer_feat_level]
        inputs, places = [], []
        for number, memory in enumerate(memories):
            tokens = self.decoder_input_projs[number](memory).flatten(2).permute(0, 2, 1)
            inputs.append(tokens + self.level_embed.weight[number].view(1, 1, -1))
            nowhere = memory.new_zeros((len(memory), *memory.shape[-2:]), dtype=torch.bool)
            position = self.decoder_positional_encoding(nowhere)
            places.append(position.flatten(2).permute(0, 2, 1))
        return _Maps(pixels, inputs, places, [tuple(memory.shape[-2:]) for memory in memories])

    def _decode(self, maps: _Maps, task: int) -> list[tuple[Tensor, Tensor]]:
        """Queries of a task and their masks, before the first layer and after each."""
        step = self.steps[task - 1] if task else self
        layers, batch = self.transformer_decoder.layers, len(maps.pixels)
        places = step.query_embed if task else [step.query_embed] * len(layers)
        queries = step.query_feat.weight.unsqueeze(0).repeat(batch, 1, 1)
        found = [self._look(queries, step.mask_embed, maps)]
        for number, (layer, place) in enumerate(zip(layers, places, strict=True)):
            level = number % len(maps.memories)
            queries = layer(
                query=queries,
                key=maps.memories[level],
                value=maps.memories[level],
                query_pos=place.weight.unsqueeze(0).repeat(batch, 1, 1),
                key_pos=maps.places[level],
                cross_attn_mask=self._hidden(found[-1][1], maps.sizes[level]),
                query_key_padding_mask=None,
                key_padding_mask=None,
            )
            found.append(self._look(queries, step.mask_embed, maps))
        return found

    def _look(self, queries: Tensor, mask_embed: nn.Module, maps: _Maps) -> tuple[Tensor, Tensor]:
        queries = self.transformer_decoder.post_norm(queries)
        return queries, torch.einsum('bqc,bchw->bqhw', mask_embed(queries), maps.pixels)

    def _hidden(self, masks: Tensor, size: tuple[int, int]) -> Tensor:
        """``(B * heads, Q, h * w)``, where a query does not look: outside of its mask, if any."""
        masks = F.interpolate(masks.detach(), size, mode='bilinear', align_corners=False)
        hidden = masks.flatten(2).sigmoid() < 0.5
        hidden &= ~hidden.all(-1, keepdim=True)
        return hidden.unsqueeze(1).repeat(1, self.num_heads, 1, 1).flatten(0, 1)

    # ------------------------------------------------------- classes

    def _columns(self, task: int) -> Tensor:
        """A task's labels, and that of no object."""
        own = (self.task_of_class == task).nonzero()[:, 0]
        return torch.cat([own, own.new_tensor([self.num_classes])])

    def _logits(self, queries: Tensor, task: int) -> Tensor:
        """``(B, Q, k + 1)``, what a task's head says of queries."""
        if task:
            return self.steps[task - 1].class_embed(queries)
        return self.cls_embed(queries)[..., self._columns(0)]

    def _spread(self, logits: Tensor, task: int) -> Tensor:
        """Logits of a task's classes among those of all."""
        everywhere = logits.new_full((*logits.shape[:2], self.num_classes + 1), _NEVER)
        return everywhere.index_copy(2, self._columns(task), logits)

    def _merged(self, queries: Tensor, task: int) -> Tensor:
        """Logits of a task's queries beside those of the others: logarithms of probabilities."""
        tasks = range(int(self.task) + 1)
        said = [self._logits(queries, index).float().softmax(-1) for index in tasks]
        others = sum(1 - said[index][..., -1] for index in tasks if index != task)
        delta = self.deltas[min(task, len(self.deltas) - 1)]
        weighed = weigh_no_object(said[task], others, delta)
        return self._spread(weighed.clamp_min(torch.finfo(torch.float32).tiny).log(), task)
