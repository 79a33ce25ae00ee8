"""``PromptPool``: prompts from a pool, chosen for each image.

Learning to Prompt (Wang et al., CVPR 2022, https://arxiv.org/abs/2112.08654, section 4). Its two
public codes differ; the defaults are those of the PyTorch port (the authors' have ten tokens a
prompt, four prompts an image and a key loss of weight 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor

from vitadapter_dense.encoders.tokens import Tokens
from vitadapter_dense.tuning.image_shaped import image_shape
from vitadapter_dense.tuning.input_prompts import (
    Host,
    InputPrompts,
    Query,
    check_query,
    query_of,
)
from vitadapter_dense.tuning.prompt_choice import PromptChoice, Slots

Start = Literal['uniform', 'zero', 'images']
_STARTS = ('uniform', 'zero', 'images')


@MODELS.register_module()
class PromptPool(InputPrompts):
    """A pool of prompts with keys; an image gets those whose keys are nearest to its query.

    The query comes from a pass through the encoder without prompts and without gradients (of other
    methods in the list those act in it that change the blocks themselves, as LoRA). A key loss
    pulls the chosen keys towards the queries.

    Args:
        size: M, prompts in the pool.
        length: L, tokens of a prompt; default 5, or what ``image_size`` gives.
        top_k: prompts of an image; it gets ``top_k * length`` tokens.
        query: the encoder's CLS token, or the mean or maximum of its map, behind its last block
            (and its final norm, where it has one).
        batchwise: a batch's most frequent choices serve all its images, in evaluation too, as in
            both public codes; what is predicted then depends on the other images of the batch.
        key_weight: of the key loss (lambda).
        slots_per_task: masks that give each task slots of its own, so many. The others rest; in
            evaluation those of all tasks so far are open. ``None``: all are every task's.
        transfer: a task's slots start as those that the last task has trained.
        start: ``'uniform'`` in -1 to 1, ``'zero'``, or ``'images'``, drawn from the training data
            of the first task (by ``PromptStartHook``, which ``DenseRunner`` registers, or
            :meth:`start_from`).
        image_size: the prompts are images with sides of so many pixels, which the frozen patch
            embedding makes tokens of. ``None``: they are tokens; with ``start='images'`` the
            images' pixels are the tokens' numbers.

    Raises:
        ValueError: options that do not fit each other or the backbone.
    """

    def __init__(
        self,
        size: int = 10,
        length: int | None = None,
        *,
        top_k: int = 5,
        query: Query = 'cls',
        batchwise: bool = False,
        key_weight: float = 0.1,
        slots_per_task: int | None = None,
        transfer: bool = False,
        start: Start = 'uniform',
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        check_query(self, query)
        if start not in _STARTS:
            raise ValueError(f'PromptPool(start={start!r}): it is one of {", ".join(_STARTS)}')
        if top_k < 1 or not 0 <= key_weight < math.inf:
            raise ValueError(
                f'PromptPool(top_k={top_k}, key_weight={key_weight}): an image gets one prompt at '
                f'least, and the weight is 0 or more'
            )
        among = size if slots_per_task is None else slots_per_task
        if not top_k <= among <= size:
            what = f'size={size}' + ('' if among == size else f', slots_per_task={among}')
            raise ValueError(
                f'PromptPool({what}, top_k={top_k}): an image gets top_k prompts of the slots that '
                f'are open to it; set top_k={max(1, min(among, size))} or less, or more slots'
            )
        if transfer and slots_per_task is None:
            raise ValueError(
                'PromptPool(transfer=True) needs slots of the task to go to: set slots_per_task'
            )
        self.size, self.length, self.top_k, self.query = size, length, top_k, query
        self.batchwise, self.key_weight = batchwise, key_weight
        self.slots_per_task, self.transfer = slots_per_task, transfer
        self.start, self.image_size = start, image_size
        if start == 'images':
            self.register_buffer('started', torch.tensor(False))
            self._known_as_started = False

    def build(self, host: Host) -> None:
        """The prompts and their keys."""
        check_query(self, self.query, host)
        self.shape = image_shape(
            host,
            length=self.length,
            image_size=self.image_size,
            as_image=self.start == 'images',
            method=type(self).__name__,
        )
        self.num_tokens = self.top_k * self.shape.length
        prompts = torch.empty(self.size, *self.shape.stored).uniform_(-1, 1)
        if self.start == 'zero':
            prompts = torch.zeros_like(prompts)
        self.prompts = Slots(prompts, self.slots_per_task)
        self.choice = PromptChoice(
            torch.empty(self.size, host.seen_dim).uniform_(-1, 1),
            self.top_k,
            batchwise=self.batchwise,
            per_task=self.slots_per_task,
        )

    def make_prompts(self, images: Tensor, tokens: Tokens | None) -> Tensor:
        """The chosen prompts, behind one another."""
        if self.training:
            self._check_started()
        choice = self.choice(query_of(tokens, self.query), self.task)
        if self.training:
            self._losses.keep(dict(loss_prompt_keys=-self.key_weight * choice.mean_cosine()))
        prompts = self.shape.tokens(self.prompts(self.task))
        return prompts[choice.slots].flatten(1, 2)  # (B, k*L, C)

    def next_task(self, old: int, new: int) -> None:
        """Lets the last task's slots rest.

        Raises:
            ValueError: the pool has no slots for that task.
        """
        self.check_tasks(new + 1)
        for slots in (self.prompts, self.choice.keys):
            slots.go_on(old, new, transfer=self.transfer)

    def check_tasks(self, count: int) -> None:
        """Raises where the pool has too few slots for so many tasks.

        Raises:
            ValueError: it has.
        """
        own = self.slots_per_task
        if own is not None and count * own > self.size:
            raise ValueError(
                f'PromptPool(size={self.size}, slots_per_task={own}) has slots for '
                f'{self.size // own} tasks, and there are {count}: set size={count * own} or more'
            )

    # ------------------------------------------------------- prompts as images

    @property
    def images_needed(self) -> int:
        """How many images the pool waits for; 0 once it has them."""
        return self.size if self.start == 'images' and not self.started else 0

    def start_from(self, images: Sequence[Tensor] | Tensor) -> None:
        """Starts the prompts as images, as the model sees them, of any sizes.

        Args:
            images: ``(3, H, W)`` each, one for each slot.

        Raises:
            ValueError: other images, or a pool that does not start so.
        """
        colours = {len(image) for image in images}
        if self.start != 'images' or len(images) != self.size or colours != {3}:
            raise ValueError(
                f'PromptPool(size={self.size}, start={self.start!r}) was given {len(images)} '
                f"images of {colours} colours: with start='images' it takes one of three colours "
                f'for each of its slots'
            )
        pixels = self.shape.of_images(images).to(self.prompts.own)
        self.prompts.put(pixels.reshape(self.size, *self.shape.stored), self.task)
        self.started.fill_(True)

    def pictures(self) -> Tensor | None:
        """The prompts as images ``(M, 3, H, W)`` in the model's colours; None if they are none."""
        if self.shape.hw is None:
            return None
        return self.shape.pixels(self.prompts(self.task).detach())

    def _check_started(self) -> None:
        if self.start != 'images' or self._known_as_started:
            return
        if not self.started:
            raise ValueError(
                f"PromptPool(start='images') was given none: train with DenseRunner, add "
                f"dict(type='PromptStartHook') to custom_hooks, or call start_from(images) with "
                f"{self.size} images; start='uniform' needs none"
            )
        self._known_as_started = True
