"""Memory of a model: what is stored, what training adds, and the peak of a training step."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vitadapter_dense.encoders import OpenEncoding

GRADIENT_AND_ADAM = 12  # bytes a trained value: gradient and two averages, all float32


class Stored(NamedTuple):
    """Bytes that are held whatever the image."""

    frozen: int
    trained: int
    training: int

    @property
    def weights(self) -> int:
        """Frozen and trained ones."""
        return self.frozen + self.trained

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def stored(model: nn.Module) -> Stored:
    """Bytes of weights, frozen and trained, and of gradients and AdamW's averages.

    Args:
        model: on any device, also on the meta device.
    """
    frozen = trained = training = 0
    for parameter in model.parameters():
        size = parameter.numel() * parameter.element_size()
        if parameter.requires_grad:
            trained += size
            training += GRADIENT_AND_ADAM * parameter.numel()
        else:
            frozen += size
    return Stored(frozen, trained, training)


def peak_of(call: Callable[[], object], device: torch.device) -> int:
    """The most bytes that are held while something is computed, what was there before included.

    On the CPU those of the whole process: Python and its libraries are a few hundred megabytes.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device)
    status, clear = Path('/proc/self/status'), Path('/proc/self/clear_refs')
    if clear.exists():
        clear.write_text('5')  # the peak becomes what is held now
    call()
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = dict(line.split(':', 1) for line in status.read_text().splitlines())
    return int(lines['VmHWM'].split()[0]) * 1024


def run_passes(backbone: nn.Module, images: torch.Tensor, *, bfloat16: bool = False) -> None:
    """The forward pass on a sum of the maps, and the backward pass where something trains.

    Blocks that are left to the head run without it.
    """
    with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
        maps = backbone(images)
        if isinstance(maps, OpenEncoding):
            maps = [maps.finish().x]
        loss = sum(feature_map.float().mean() for feature_map in maps)
    if loss.requires_grad:
        loss.backward()


@contextmanager
def without_memory(
    backbone: nn.Module, images: tuple[int, ...]
) -> Iterator[tuple[nn.Module, Tensor]]:
    """A backbone and images that have shapes and no memory; passes run within the block.

    Args:
        backbone: on the meta device; it is used up.
        images: shape ``(B, 3, H, W)``.

    Raises:
        ValueError: the backbone gives no maps so, or there are more values than torch can count.
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield backbone.to_empty(device='cpu'), torch.empty(images)
    except (NotImplementedError, RuntimeError, TypeError) as error:
        line = str(error).splitlines()[0]
        if 'overflow' in line:
            raise ValueError(
                f'images of {images} are more than torch can count ({line}): give fewer, or smaller'
            ) from error
        raise ValueError(
            f'{type(backbone).__name__} gives no maps without memory ({line}): such a backbone is '
            'not planned'
        ) from error


def training_step(backbone: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """One step of AdamW on a sum of the maps, its averages included; of what trains, if any."""
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([dict(params=trained)], lr=1e-6)  # a group may be empty

    def step() -> None:
        run_passes(backbone, images)
        optimizer.step()
        optimizer.zero_grad()

    return step
