"""Prompts that depend on the image: what pools and generators of prompts have in common.

Learning to Prompt (Wang et al., CVPR 2022, https://arxiv.org/abs/2112.08654, section 4) looks at an
image through the frozen encoder first, without prompts, and then again with those that it was given
for what was seen. Here that is so in plain ViTs of any windows and image size and in Swin, where
prompts ride behind the map from the patch embedding on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from vitadapter_dense.encoders.tokens import Tokens
from vitadapter_dense.tuning.base import Tuning
from vitadapter_dense.tuning.blocks import need_transformer_blocks
from vitadapter_dense.tuning.prompted_windows import (
    carry_prompts,
    put_behind,
    run_without_prompts,
)
from vitadapter_dense.tuning.stages import is_plain_vit
from vitadapter_dense.tuning.step_losses import StepLosses

Query = Literal['cls', 'mean', 'max']
QUERIES = ('cls', 'mean', 'max')


@dataclass(frozen=True)
class Host:
    """What a method must know of the backbone that its prompts go into.

    Attributes:
        kind: name of its class.
        dim: width of its first block's tokens, and so of the prompts.
        seen_dim: width of its last block's tokens, of which queries are made.
        has_cls: whether it keeps a CLS token.
        patch_embed: its patch embedding.
    """

    kind: str
    dim: int
    seen_dim: int
    has_cls: bool
    patch_embed: nn.Module


class InputPrompts(Tuning):
    """Prompts ``(B, p, C)`` made for each image, beside the tokens from the first block on.

    In training it keeps named losses for the step; in evaluation nothing is kept.

    Attributes:
        reads_tokens: whether the method looks at the frozen encoder's tokens, which costs a pass.
        num_tokens: p; known once it is attached.
        task: number of the task that trains or trained last, -1 before the first.
    """

    identity_at_start = False
    adds_tokens = True
    leaves_prompts = True
    reads_tokens = True
    num_tokens: int

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('task', torch.tensor(-1))
        self._losses = StepLosses()

    # ------------------------------------------------------- what a method is

    def build(self, host: Host) -> None:
        """Makes the method's modules, and says how many prompts there will be.

        Raises:
            ValueError: what was asked for does not fit the backbone.
        """
        raise NotImplementedError

    def make_prompts(self, images: Tensor, tokens: Tokens | None) -> Tensor:
        """Makes the prompts of a batch.

        Args:
            images: ``(B, 3, H, W)``.
            tokens: behind the frozen encoder's last block, without prompts; None for a method that
                does not read them.

        Returns:
            ``(B, num_tokens, C)``.
        """
        raise NotImplementedError

    def next_task(self, old: int, new: int) -> None:
        """Prepares for another task; ``old`` is -1 if there was none."""

    # ------------------------------------------------------------------ tasks

    def start_task(self, index: int) -> None:
        """Goes over to a task; called with what the last one has left in the weights.

        A second call for the same task changes nothing: a run that is resumed within it goes on.
        """
        old = int(self.task)
        if index != old:
            self.next_task(old, index)
            self.task.fill_(index)

    def losses(self) -> dict[str, Tensor]:
        """The losses of the last forward pass in training, once."""
        return self._losses.take()

    # ----------------------------------------------------------------- set-up

    def attach(self, backbone: nn.Module) -> None:
        """Makes the prompts' modules, and has the backbone take prompts.

        Raises:
            ValueError: a backbone without transformer blocks, or one that the method does not fit.
        """
        blocks = need_transformer_blocks(backbone, self)
        widths = [block.norm1.normalized_shape[0] for block in blocks.values()]
        self._last_block = len(blocks) - 1
        self._backbone = [backbone]  # in a list, it is no child
        name = 'model.patch_embed' if hasattr(backbone, 'model') else 'patch_embed'
        patch_embed = backbone.get_submodule(name)
        self.build(
            Host(
                kind=type(backbone).__name__,
                dim=widths[0],
                seen_dim=widths[-1],
                has_cls=getattr(backbone, 'cls_token', None) is not None,
                patch_embed=patch_embed,
            )
        )
        if is_plain_vit(backbone):
            self.sites = [next(iter(blocks))]
            return
        if getattr(backbone, 'use_abs_pos_embed', False):
            raise ValueError(
                f'{type(self).__name__}: prompts ride behind the map of {type(backbone).__name__}, '
                f'to which use_abs_pos_embed=True would add positions: set it to False'
            )
        self.sites = [name]
        carry_prompts(backbone, list(blocks.values()), self.num_tokens, new_prompts=None)
        patch_embed.register_forward_hook(self._prompt_swin)

    # -------------------------------------------------------------- plain ViT

    def before_block(self, index: int, tokens: Tokens) -> Tokens:
        """Inserts the prompts before the first block."""
        if index:
            return tokens
        seen = self._see(tokens.images) if self.reads_tokens else None
        prompts = self.make_prompts(tokens.images, seen).to(tokens.x.dtype)
        x = torch.cat([tokens.prefix, prompts, tokens.grid], dim=1)
        return replace(tokens, x=x, num_prefix=tokens.num_prefix + self.num_tokens)

    def after_block(self, index: int, tokens: Tokens) -> Tokens:
        """Takes the prompts out of the sequence behind the last block."""
        if index != self._last_block:
            return tokens
        kept = tokens.num_prefix - self.num_tokens
        x = torch.cat([tokens.x[:, :kept], tokens.grid], dim=1)
        return replace(tokens, x=x, num_prefix=kept, prompts=tokens.prefix[:, kept:])

    @torch.no_grad()
    def _see(self, images: Tensor) -> Tokens:
        (encoder,) = self._backbone
        tokens = encoder.run_untouched(images)
        return tokens.with_x(encoder.normed(tokens.x)) if encoder.keep_final_norm else tokens

    # ------------------------------------------------------------------- Swin

    def _prompt_swin(
        self, _patch_embed: nn.Module, args: tuple, out: Tensor | tuple[Tensor, tuple[int, int]]
    ) -> Tensor | tuple[Tensor, tuple[int, int]]:
        x, hw = (out, None) if isinstance(out, Tensor) else out
        seen = None
        if self.reads_tokens:
            with torch.no_grad():
                seen = Tokens(*run_without_prompts(*self._backbone, x, hw))
        x = put_behind(x, self.make_prompts(args[0], seen))
        return x if hw is None else (x, hw)


def check_query(method: Tuning, query: str, host: Host | None = None) -> None:
    """Raises for a query that there is not, or that a backbone cannot give.

    Raises:
        ValueError: see above.
    """
    if query not in QUERIES:
        raise ValueError(
            f'{type(method).__name__}(query={query!r}): it is one of {", ".join(QUERIES)}'
        )
    if host is not None and query == 'cls' and not host.has_cls:
        raise ValueError(
            f"{type(method).__name__}(query='cls'): {host.kind} has no CLS token; set query='mean' "
            f"or 'max', or, for a plain ViT that was trained with one, keep_prefix_tokens=True of "
            f'the encoder'
        )


def query_of(tokens: Tokens, query: Query) -> Tensor:
    """One vector ``(B, C)`` an image: the CLS token, or the mean or maximum of the map."""
    if query == 'cls':
        return tokens.prefix[:, 0]
    return tokens.grid.mean(dim=1) if query == 'mean' else tokens.grid.amax(dim=1)
