"""Generators of prompts: image or tokens in, prompts ``(B, p, C)`` out; alone or beside a pool.

The kinds follow a student project on Learning to Prompt (images, CLS tokens, with a pool, held by a
copy of the last task's generator), of which a public summary is known and no code: the networks are
ours. That a copy's outputs hold the generator is Learning without Forgetting
(https://arxiv.org/abs/1606.09282) on the generator, as APG does with class centroids
(https://arxiv.org/abs/2308.07234).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from vitadapter_dense.encoders.tokens import Tokens
from vitadapter_dense.tuning.base import build_tuning
from vitadapter_dense.tuning.image_shaped import LENGTH, image_shape
from vitadapter_dense.tuning.input_prompts import (
    Host,
    InputPrompts,
    Query,
    check_query,
    query_of,
)
from vitadapter_dense.tuning.prompt_autoencoders import (
    ImageAutoencoder,
    PromptAutoencoder,
    VectorAutoencoder,
    frozen_copy,
    take_over,
)


class PromptGenerator(InputPrompts):
    """A variational autoencoder whose output is an image's prompts.

    Args:
        width: of its layers.
        latent: width of the latent.
        reconstruction_weight: of the mean squared error of what it encodes.
        divergence_weight: of the latents' divergence from a standard normal distribution.
        lwf_weight: of the mean squared difference from the prompts that the generator made at the
            end of the last task; 0 keeps no copy of it.

    Raises:
        ValueError: a negative weight, or no width.
    """

    def __init__(
        self,
        *,
        width: int,
        latent: int,
        reconstruction_weight: float,
        divergence_weight: float,
        lwf_weight: float,
    ) -> None:
        super().__init__()
        if width < 1 or latent < 1:
            raise ValueError(
                f'{type(self).__name__}(width={width}, latent={latent}): both are at least 1'
            )
        self.width, self.latent = width, latent
        weights = dict(
            reconstruction_weight=reconstruction_weight,
            divergence_weight=divergence_weight,
            lwf_weight=lwf_weight,
        )
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f'{type(self).__name__}({name}={weight}): give 0 or more')
        self.reconstruction_weight = reconstruction_weight
        self.divergence_weight, self.lwf_weight = divergence_weight, lwf_weight

    def network(self, host: Host) -> PromptAutoencoder:
        """Makes the autoencoder for a backbone.

        Raises:
            ValueError: its prompts do not fit the backbone.
        """
        raise NotImplementedError

    def look_at(self, images: Tensor, tokens: Tokens | None) -> Tensor:
        """What the autoencoder is given."""
        raise NotImplementedError

    def as_tokens(self, prompts: Tensor) -> Tensor:
        """What the autoencoder makes -> ``(B, p, C)``."""
        return prompts

    def build(self, host: Host) -> None:
        """The generator, and the place of its copy."""
        self.generator = self.network(host)
        if self.lwf_weight:
            self.previous = frozen_copy(self.generator)

    def make_prompts(self, images: Tensor, tokens: Tokens | None) -> Tensor:
        """Generates the prompts."""
        seen = self.look_at(images, tokens)
        generated = self.generator(seen)
        if self.training:
            losses = dict(
                loss_prompt_reconstruction=self.reconstruction_weight * generated.reconstruction,
                loss_prompt_divergence=self.divergence_weight * generated.divergence,
            )
            if self.lwf_weight and self.task > 0:
                with torch.no_grad():
                    held = self.previous.expected(seen)
                drift = F.mse_loss(self.generator.expected(seen), held)
                losses['loss_prompt_lwf'] = self.lwf_weight * drift
            self._losses.keep(losses)
        return self.as_tokens(generated.prompts)

    def next_task(self, old: int, new: int) -> None:
        """Keeps a copy of the generator as the last task has left it."""
        if self.lwf_weight:
            take_over(self.previous, self.generator)


@MODELS.register_module()
class VAEPromptGenerator(PromptGenerator):
    """Images -> latent -> images, which are the prompts.

    Args:
        length: tokens of an image's prompts; default 5, or what ``image_size`` gives.
        image_size: side of the images that come out, in pixels; the frozen patch embedding makes
            tokens of them. ``None``: their pixels are the tokens' numbers.
        width: channels of the first convolution.
        latent: width of the latent.
        reconstruction_weight: of the mean squared error of the images.
        divergence_weight: of the latents' divergence from a standard normal distribution.
        lwf_weight: of the difference from what the last task's generator makes; 0: none.

    Raises:
        ValueError: a negative weight, no width, or prompts that do not fit the backbone.
    """

    reads_tokens = False

    def __init__(
        self,
        length: int | None = None,
        *,
        image_size: int | None = None,
        width: int = 16,
        latent: int = 64,
        reconstruction_weight: float = 1.0,
        divergence_weight: float = 1.0,
        lwf_weight: float = 0.0,
    ) -> None:
        super().__init__(
            width=width,
            latent=latent,
            reconstruction_weight=reconstruction_weight,
            divergence_weight=divergence_weight,
            lwf_weight=lwf_weight,
        )
        self.length, self.image_size = length, image_size

    def network(self, host: Host) -> PromptAutoencoder:
        """An autoencoder of images in the size of the prompts."""
        self.shape = image_shape(
            host,
            length=self.length,
            image_size=self.image_size,
            as_image=True,
            method=type(self).__name__,
        )
        self.num_tokens = self.shape.length
        return ImageAutoencoder(self.shape.hw, self.width, self.latent)

    def look_at(self, images: Tensor, tokens: Tokens | None) -> Tensor:
        """The images."""
        return images

    def as_tokens(self, prompts: Tensor) -> Tensor:
        """Through the patch embedding, or reshaped."""
        return self.shape.tokens(prompts)


@MODELS.register_module()
class ClsPromptGenerator(PromptGenerator):
    """The frozen encoder's CLS token -> latent -> prompts, and the CLS token again.

    Args:
        length: tokens of an image's prompts.
        query: the CLS token, or the mean or maximum of the map, of a pass without prompts.
        width: of the hidden layers.
        latent: width of the latent.
        reconstruction_weight: of the mean squared error of the (normalised) CLS token.
        divergence_weight: of the latents' divergence from a standard normal distribution.
        lwf_weight: of the difference from what the last task's generator makes; 0: none.

    Raises:
        ValueError: a negative weight, no width or length, or a query that the backbone cannot give.
    """

    def __init__(
        self,
        length: int = LENGTH,
        *,
        query: Query = 'cls',
        width: int = 128,
        latent: int = 32,
        reconstruction_weight: float = 1.0,
        divergence_weight: float = 1.0,
        lwf_weight: float = 0.0,
    ) -> None:
        super().__init__(
            width=width,
            latent=latent,
            reconstruction_weight=reconstruction_weight,
            divergence_weight=divergence_weight,
            lwf_weight=lwf_weight,
        )
        check_query(self, query)
        if length < 1:
            raise ValueError(f'ClsPromptGenerator(length={length}): give at least one token')
        self.num_tokens, self.query = length, query

    def network(self, host: Host) -> PromptAutoencoder:
        """An autoencoder of vectors."""
        check_query(self, self.query, host)
        return VectorAutoencoder(
            host.seen_dim, (self.num_tokens, host.dim), self.width, self.latent
        )

    def look_at(self, images: Tensor, tokens: Tokens | None) -> Tensor:
        """The query."""
        return query_of(tokens, self.query)


@MODELS.register_module()
class PooledPromptGenerator(InputPrompts):
    """A pool and a generator side by side: an image gets prompts of both.

    Args:
        pool: options of :class:`PromptPool`, without a type.
        generator: config of a generator, with its type.

    Raises:
        ValueError: another type of pool or generator, or options that do not fit.
    """

    def __init__(self, pool: dict[str, Any], generator: dict[str, Any]) -> None:
        super().__init__()
        if not isinstance(pool, dict) or pool.get('type', 'PromptPool') != 'PromptPool':
            raise ValueError(
                f'PooledPromptGenerator(pool={pool!r}): give options of PromptPool, dict(size=10)'
            )
        self.pool = build_tuning(dict(pool, type='PromptPool'))
        self.generator = build_tuning(generator)
        if not isinstance(self.generator, PromptGenerator):
            raise ValueError(
                f'PooledPromptGenerator(generator={generator!r}): its type is VAEPromptGenerator '
                f'or ClsPromptGenerator'
            )

    def build(self, host: Host) -> None:
        """Both."""
        self.pool.build(host)
        self.generator.build(host)
        self.num_tokens = self.pool.num_tokens + self.generator.num_tokens

    def make_prompts(self, images: Tensor, tokens: Tokens | None) -> Tensor:
        """Those of the pool, then those of the generator."""
        parts = (self.pool, self.generator)
        return torch.cat([part.make_prompts(images, tokens) for part in parts], dim=1)

    def next_task(self, old: int, new: int) -> None:
        """Both go over to it."""
        self.pool.start_task(new)
        self.generator.start_task(new)

    def losses(self) -> dict[str, Tensor]:
        """Those of both."""
        return {**self.pool.losses(), **self.generator.losses()}
