"""``PromptMemoryDETR``: Deformable DETR or DINO that learns later classes by prompts alone.

After MD-DETR (Bhatt et al., ECCV 2024): the detector is frozen, and what a memory gives for an
image joins the queries in the self-attention of the decoder. Theirs looks at an image by a query
function of its own; here it is the mean of what the frozen encoder gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import signature
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.mixin import Mixin, mixed_class
from vitadapter_dense.heads.prompt_memory import PromptMemory


@MODELS.register_module()
class PromptMemoryDETR(Mixin):
    """MMDetection's ``DINO`` (with ``dn_cfg``) or ``DeformableDETR``, with a memory of prompts.

    In the first task, and where no task has begun, it is that detector. Afterwards prompts are keys
    and values beside the queries in each layer's self-attention. `tools/train_continual.py` tells
    when a task begins; with ``freeze_rest`` the memory and rows of classes alone train.

    Args:
        prompt_memory: arguments of :class:`~vitadapter_dense.heads.prompt_memory.PromptMemory`.
        detector: arguments of the detector; its classes are all, those of later tasks too.

    Raises:
        ValueError: a detector without such a decoder, or numbers that do not fit.
    """

    name_prefix = 'PromptMemory'
    learns_old_classes = True

    def __new__(cls, *args: Any, **kwargs: Any) -> PromptMemoryDETR:
        """A detector whose class is made on the fly of this one and MMDetection's."""
        if cls is not PromptMemoryDETR:
            return super().__new__(cls)
        from mmdet.models.detectors import DINO, DeformableDETR

        return super().__new__(mixed_class(cls, DINO if 'dn_cfg' in kwargs else DeformableDETR))

    def __init__(self, *, prompt_memory: Mapping[str, Any], **detector: Any) -> None:
        cross = (detector.get('decoder') or {}).get('layer_cfg', {}).get('cross_attn_cfg', {})
        if 'num_levels' not in cross:
            raise ValueError(
                'PromptMemoryDETR is Deformable DETR or DINO, whose decoder looks at several '
                f'levels; this model has {", ".join(sorted(detector))}. Mend: the model of '
                'configs/_base_/models/deformable_detr.py or dino_4scale.py'
            )
        known = sorted(signature(PromptMemory).parameters.keys() - {'layers', 'width'})
        if not isinstance(prompt_memory, Mapping) or not prompt_memory.keys() <= set(known):
            raise ValueError(
                f'prompt_memory={prompt_memory!r}: it is dict({"=, ".join(known)}=), or some of '
                'these'
            )
        super().__init__(**detector)
        layers = self.decoder.layers
        self.prompt_memory = PromptMemory(len(layers), self.embed_dims, **prompt_memory)
        self._prompts: Tensor | None = None  # while a batch is decoded
        for number, layer in enumerate(layers):
            layer.self_attn.register_forward_pre_hook(
                partial(self._prompt, number), with_kwargs=True
            )

    def forward_decoder(
        self, query: Tensor, memory: Tensor, memory_mask: Tensor | None, **others: Any
    ) -> dict[str, Tensor]:
        """As the detector's, with prompts for what the encoder gives (here called memory)."""
        if self.prompt_memory.task > 0:
            self._prompts = self.prompt_memory(_mean(memory, memory_mask))
        try:
            return super().forward_decoder(
                query=query, memory=memory, memory_mask=memory_mask, **others
            )
        finally:
            self._prompts = None

    def loss(self, batch_inputs: Tensor, batch_data_samples: Any) -> dict[str, Any]:
        """The detector's losses, and in later tasks that of the memory's keys."""
        self.prompt_memory.losses()  # of a pass that nobody took them from
        losses = super().loss(batch_inputs, batch_data_samples)
        return {**losses, **self.prompt_memory.losses()}

    def task_modules(self, index: int) -> list[nn.Module]:
        """What alone trains in a task after the first; old rows of classes are held elsewhere."""
        # the encoder's first row in Deformable DETR tells objects of any class from none
        classes = self.bbox_head.cls_branches
        own = (
            classes if hasattr(self, 'dn_query_generator') else classes[: len(self.decoder.layers)]
        )
        return [self.prompt_memory, *own]

    def _prompt(
        self, number: int, attention: nn.Module, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[tuple, dict[str, Any]] | None:
        if self._prompts is None:
            return None
        prompts = self._prompts[:, number].to(kwargs['value'].dtype)
        put = {name: torch.cat([kwargs[name], prompts], dim=1) for name in ('key', 'value')}
        nowhere = torch.zeros_like(prompts)
        put['key_pos'] = torch.cat([kwargs['key_pos'], nowhere], dim=1)
        hidden = kwargs.get('attn_mask')  # (Q, Q), what queries do not look at
        if hidden is not None:
            put['attn_mask'] = F.pad(hidden, (0, prompts.shape[1]))
        return args, {**kwargs, **put}


def _mean(tokens: Tensor, padding: Tensor | None) -> Tensor:
    """``(B, C)``, the mean of tokens ``(B, N, C)`` without those of padding ``(B, N)``, if any."""
    tokens = tokens.float()  # thousands are summed
    if padding is None:
        return tokens.mean(dim=1)
    real = (~padding).unsqueeze(-1).to(tokens.dtype)
    return (tokens * real).sum(dim=1) / real.sum(dim=1)
