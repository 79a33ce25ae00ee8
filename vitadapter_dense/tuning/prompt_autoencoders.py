"""Variational autoencoders that make prompts: of images, and of vectors such as a CLS token.

Auto-Encoding Variational Bayes (Kingma & Welling, https://arxiv.org/abs/1312.6114). In evaluation
the latent is its mean, so that an image always gets the same prompts.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Generated(NamedTuple):
    """What an autoencoder makes of a batch.

    Attributes:
        prompts: ``(B, ...)``.
        reconstruction: mean squared error of what went in and came out again.
        divergence: of the latents from a standard normal distribution, a value that went in, so
            that a weight means the same for any size.
    """

    prompts: Tensor
    reconstruction: Tensor
    divergence: Tensor


class PromptAutoencoder(nn.Module):
    """Encodes into a latent, and makes prompts of it.

    Args:
        latent: its width.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def prepare(self, x: Tensor) -> Tensor:
        """What is encoded, and shall come out again."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """What was prepared -> means and logarithms of variances ``(B, 2 * latent)``."""
        raise NotImplementedError

    def decode(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, latent)`` -> prompts, and what was prepared."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Generated:
        """Prompts and losses; in training the latent is drawn."""
        x = self.prepare(x)
        # not in 16 bits under autocast, where the divergence of a small variance is but rounding
        mean, log_variance = self.encode(x).to(x.dtype).chunk(2, dim=-1)
        latent = mean
        if self.training:
            latent = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        prompts, again = self.decode(latent)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return Generated(prompts, F.mse_loss(again, x), divergence / x.numel())

    def expected(self, x: Tensor) -> Tensor:
        """The prompts of the latents' means."""
        mean, _ = self.encode(self.prepare(x)).chunk(2, dim=-1)
        return self.decode(mean)[0]


class ImageAutoencoder(PromptAutoencoder):
    """Images -> images of one size, which are the prompts.

    Three convolutions of stride 2, and three after a doubling of the size each.

    Args:
        hw: that size.
        width: channels of the first layer; they double twice.
        latent: width of the latent.
    """

    def __init__(self, hw: tuple[int, int], width: int, latent: int) -> None:
        super().__init__(latent)
        self.hw = hw
        self.grid = tuple((side + 7) // 8 for side in hw)
        widths = [3, width, 2 * width, 4 * width]
        inside = widths[-1] * self.grid[0] * self.grid[1]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            down += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU()]
            larger = [nn.GELU(), nn.Upsample(scale_factor=2)]
            up = [*larger, nn.Conv2d(after, before, 3, padding=1), *up]
        self.down = nn.Sequential(*down, nn.Flatten(), nn.Linear(inside, 2 * latent))
        self.start = nn.Linear(latent, inside)
        self.up = nn.Sequential(*up)

    def prepare(self, x: Tensor) -> Tensor:
        """Images in that size."""
        x = x.to(self.start.weight.dtype)
        return F.interpolate(x, size=self.hw, mode='bilinear', antialias=True)

    def encode(self, x: Tensor) -> Tensor:
        """Means and logarithms of variances."""
        return self.down(x)

    def decode(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Images, twice: as prompts and as what was encoded."""
        grid = self.start(latent).unflatten(1, (-1, *self.grid))
        images = self.up(grid)[..., : self.hw[0], : self.hw[1]]
        return images, images


class VectorAutoencoder(PromptAutoencoder):
    """Vectors -> prompts, and the vectors again.

    Args:
        dim: of the vectors; they are normalised, for those of a ViT have a few huge numbers.
        shape: of an image's prompts, ``(p, C)``.
        width: of the hidden layers.
        latent: width of the latent.
    """

    def __init__(self, dim: int, shape: tuple[int, int], width: int, latent: int) -> None:
        super().__init__(latent)
        self.shape = shape
        self.down = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, 2 * latent))
        self.start = nn.Sequential(nn.Linear(latent, width), nn.GELU())
        self.to_prompts = nn.Linear(width, shape[0] * shape[1])
        self.to_vector = nn.Linear(width, dim)

    def prepare(self, x: Tensor) -> Tensor:
        """Vectors of mean 0 and variance 1."""
        return F.layer_norm(x.to(self.to_vector.weight.dtype), x.shape[-1:])

    def encode(self, x: Tensor) -> Tensor:
        """Means and logarithms of variances."""
        return self.down(x)

    def decode(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts and vectors."""
        hidden = self.start(latent)
        return self.to_prompts(hidden).unflatten(1, self.shape), self.to_vector(hidden)


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy whose weights are buffers: saved with the rest, and trained by nothing."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
    return twin


@torch.no_grad()
def take_over(twin: nn.Module, module: nn.Module) -> None:
    """Copies a module's weights into its :func:`frozen_copy`."""
    for name, parameter in module.named_parameters():
        twin.get_buffer(name).copy_(parameter)
