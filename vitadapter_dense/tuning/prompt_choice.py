"""``PromptChoice``: which prompts of a pool an image gets, and what trains of a pool in a task.

Learning to Prompt (https://arxiv.org/abs/2112.08654, section 4.2): the prompts whose keys are
nearest to the image's query. Choosing has no gradient; keys learn from being near alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-6  # of a norm; the authors' code has 1e-12 of its square


class Choice(NamedTuple):
    """What an image gets.

    Attributes:
        slots: ``(B, k)``, numbers of the chosen prompts, the nearest first.
        similarity: ``(B, M)``, cosine of query and keys.
    """

    slots: Tensor
    similarity: Tensor

    def mean_cosine(self) -> Tensor:
        """The chosen similarities, summed over an image's prompts and averaged over the images."""
        return self.similarity.gather(1, self.slots).sum() / len(self.slots)


class Slots(nn.Module):
    """One tensor a slot of a pool; all train, or those of one task while the others rest.

    What rests is a buffer: no optimiser, weight decay or average reaches it.

    Args:
        values: ``(M, ...)``.
        per_task: slots of a task, which has those from ``task * per_task`` on; None: all train.
    """

    def __init__(self, values: Tensor, per_task: int | None) -> None:
        super().__init__()
        self.per_task = per_task
        self.own = nn.Parameter(values[:per_task].clone())
        if per_task is not None:
            self.register_buffer('resting', values.clone())

    def forward(self, task: Tensor) -> Tensor:
        """All slots ``(M, ...)``, while a task (a number, -1 before the first) trains."""
        if self.per_task is None:
            return self.own
        return self.resting.index_copy(0, self._of(task), self.own)

    @torch.no_grad()
    def go_on(self, old: int, new: int, *, transfer: bool) -> None:
        """Lets the slots of one task rest, and trains those of another.

        Args:
            old: the one task; -1: none has trained.
            new: the other.
            transfer: begin with what the one has learned.
        """
        if self.per_task is None:
            return
        self.resting[self._of(old)] = self.own
        if not (transfer and old >= 0):
            self.own.copy_(self.resting[self._of(new)])

    @torch.no_grad()
    def put(self, values: Tensor, task: Tensor) -> None:
        """Replaces all slots."""
        if self.per_task is None:
            self.own.copy_(values)
        else:
            self.resting.copy_(values)
            self.own.copy_(values[self._of(task)])

    def _of(self, task: Tensor | int) -> Tensor:
        first = max(task, 0) if isinstance(task, int) else task.clamp(min=0)
        return first * self.per_task + torch.arange(self.per_task, device=self.own.device)


class PromptChoice(nn.Module):
    """The keys of a pool.

    A forward hook on it sees every choice that is made.

    Args:
        keys: ``(M, C)``, where they start.
        top_k: prompts of an image.
        batchwise: the whole batch gets those that its images choose most often.
        per_task: slots of a task, see :class:`Slots`. In training an image gets some of the task's,
            in evaluation of those of all tasks so far.
    """

    def __init__(
        self, keys: Tensor, top_k: int, *, batchwise: bool = False, per_task: int | None = None
    ) -> None:
        super().__init__()
        self.size, self.top_k, self.batchwise, self.per_task = len(keys), top_k, batchwise, per_task
        self.keys = Slots(keys, per_task)

    def forward(self, query: Tensor, task: Tensor) -> Choice:
        """``(B, C)``, and the task's number -> what each image gets."""
        keys = self.keys(task)
        # products and a sum, for a matrix product would be rounded to 16 bits under autocast
        query = F.normalize(query.to(keys.dtype), dim=-1, eps=_EPS)
        similarity = (query[:, None] * F.normalize(keys, dim=-1, eps=_EPS)).sum(-1)  # (B, M)
        open_to = similarity.detach()
        if self.per_task is not None:
            of_task = torch.arange(self.size, device=task.device) // self.per_task
            now = task.clamp(min=0)
            closed = of_task != now if self.training else of_task > now
            open_to = open_to.masked_fill(closed, -torch.inf)
        slots = open_to.argsort(dim=-1, descending=True, stable=True)[:, : self.top_k]
        if self.batchwise:
            times = F.one_hot(slots, self.size).sum(dim=(0, 1))
            most = times.argsort(descending=True, stable=True)[: self.top_k]
            slots = most.expand(len(slots), -1)
        return Choice(slots, similarity)
