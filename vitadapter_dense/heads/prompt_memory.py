"""``PromptMemory``: prompts for the layers of a decoder, read from units with keys.

After MD-DETR (Bhatt et al., ECCV 2024): units of a memory are weighed by the cosine of their keys
and a query that the image gives, as in CODA-Prompt (https://arxiv.org/abs/2211.13218). Keys, their
loss and which units are a task's are those of :class:`~vitadapter_dense.tuning.PromptPool`. Ours
are prompts for each layer, how they begin, and that the first task has none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.tuning.prompt_choice import PromptChoice, Slots
from vitadapter_dense.tuning.step_losses import StepLosses


class PromptMemory(nn.Module):
    """Units of prompts, some for each task after the first.

    A task trains its own; the others rest. In training an image reads its task's units, in an
    evaluation those of all tasks so far.

    Args:
        layers: of the decoder; each has prompts of its own.
        width: of its queries.
        size: M, units of all tasks together.
        length: L, prompts of a unit, for each layer.
        top_k: units that an image reads, those whose keys are nearest to its query.
        slots_per_task: units of a task.
        key_weight: of the loss that draws the keys that are read towards the queries.

    Attributes:
        task: number of the task that trains or trained last, -1 before the first.

    Raises:
        ValueError: numbers that do not fit each other.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        *,
        size: int = 100,
        length: int = 10,
        top_k: int = 10,
        slots_per_task: int = 20,
        key_weight: float = 0.1,
    ) -> None:
        super().__init__()
        whole = all(type(number) is int for number in (size, length, top_k, slots_per_task))
        weighs = isinstance(key_weight, (int, float)) and 0 <= key_weight < math.inf
        if not (whole and weighs and 1 <= top_k <= slots_per_task <= size and length >= 1):
            raise ValueError(
                f'prompt_memory=dict(size={size!r}, length={length!r}, top_k={top_k!r}, '
                f'slots_per_task={slots_per_task!r}, key_weight={key_weight!r}): an image reads '
                "top_k of the slots_per_task units that are its task's, of size in all. These and "
                'length are whole numbers of 1 or more, and key_weight is 0 or more'
            )
        self.size, self.slots_per_task, self.key_weight = size, slots_per_task, key_weight
        # small beside normed queries: a frozen decoder begins nearly as it was
        self.prompts = Slots(torch.randn(size, layers, length, width) * 0.02, slots_per_task)
        keys = torch.empty(size, width).uniform_(-1, 1)
        self.choice = PromptChoice(keys, top_k, per_task=slots_per_task)
        self.register_buffer('task', torch.tensor(-1))
        self._losses = StepLosses()

    def forward(self, query: Tensor) -> Tensor:
        """``(B, C)``, what an image is asked for by -> its prompts ``(B, layers, L, C)``."""
        own = self.task - 1  # the first task has no units
        choice = self.choice(query, own)
        if self.training:
            self._losses.keep(dict(loss_prompt_keys=-self.key_weight * choice.mean_cosine()))
        weights = choice.similarity * F.one_hot(choice.slots, self.size).sum(dim=1)
        return torch.einsum('bm,mdlc->bdlc', weights, self.prompts(own))

    def losses(self) -> dict[str, Tensor]:
        """The loss of the last forward pass in training, once."""
        return self._losses.take()

    # ------------------------------------------------------- what a sequence of tasks asks for

    def start_task(self, index: int) -> None:
        """Goes over to a task; a second call for the same one changes nothing.

        Raises:
            ValueError: there are no units for it.
        """
        old = int(self.task)
        if index != old and index > 0:
            self.check_tasks(index + 1)
            for slots in (self.prompts, self.choice.keys):
                slots.go_on(old - 1, index - 1, transfer=False)
        self.task.fill_(index)
        # from here on only: an optimiser that was built before must know them
        self.requires_grad_(index > 0)

    def check_tasks(self, count: int) -> None:
        """Raises where there are too few units for so many tasks.

        Raises:
            ValueError: there are.
        """
        needed = (count - 1) * self.slots_per_task
        if needed > self.size:
            raise ValueError(
                f'prompt_memory=dict(size={self.size}, slots_per_task={self.slots_per_task}) has '
                f'units for {self.size // self.slots_per_task} tasks after the first, and there '
                f'are {count - 1}: set size={needed} or more'
            )
