"""The time of a training step before there is a machine for it, on paper.

Operations over what a GPU does a second, bytes over what a link carries a second, and the
optimiser's bytes over the memory's bandwidth. How far communication hides behind computing is not
known beforehand: a step lies between the two ends that are given.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import nn

from vitadapter_dense.reports.flops import count_all_flops
from vitadapter_dense.reports.memory import run_passes, without_memory

TERA, GIGA = 1e12, 1e9
# AdamW reads weight, gradient and two averages of a trained value and writes all but the gradient
_ADAM_BYTES = 7 * 4


class Machine(NamedTuple):
    """What is assumed of the machines; the defaults are a DGX H100's, and one guess.

    Attributes:
        peak: operations a second of a GPU, 16 bits, dense (H100 SXM data sheet: 989e12).
        utilisation: share of it that a step reaches: a guess. Large language models on H100 reach
            0.38 to 0.43 (Llama 3, arXiv 2407.21783); convolutions and deformable attention less.
        memory: bytes a second of the GPU's memory (data sheet: 3.35e12).
        inside: bytes a second that a GPU sends to others of its machine (NVLink 4: 900 GB/s, both
            ways together).
        between: bytes a second that a machine sends to others (eight ports of 400 Gb/s).
        gpus: of a machine.
        efficiency: share of a link's rate that collectives reach: a guess.
    """

    peak: float = 989 * TERA
    utilisation: float = 0.3
    memory: float = 3.35 * TERA
    inside: float = 450 * GIGA
    between: float = 400 * GIGA
    gpus: int = 8
    efficiency: float = 0.8

    def link(self, processes: int) -> float:
        """Bytes a second through the slowest link of the rings, which share a machine's ports."""
        rate = self.inside if processes <= self.gpus else min(self.inside, self.between)
        return rate * self.efficiency


class StepTime(NamedTuple):
    """Seconds of one step.

    Attributes:
        compute: forward and backward pass.
        communication: weights gathered and gradients reduced.
        update: the optimiser's.
    """

    compute: float
    communication: float
    update: float

    @property
    def hidden(self) -> float:
        """The step if all communication runs beside the passes as far as they last."""
        return max(self.compute, self.communication) + self.update

    @property
    def exposed(self) -> float:
        """The step if none does."""
        return sum(self)


def step_time(
    flops: float,
    *,
    weights: int,
    trained: int,
    processes: int,
    kind: str,
    machine: Machine,
    gathers: int = 2,
) -> StepTime:
    """The time of a step of one of several GPUs.

    Args:
        flops: operations of its part of the batch, both passes.
        weights: bytes of all weights.
        trained: bytes of those that train, which are those of the gradients.
        processes: GPUs.
        kind: 'DDP' or 'sharded'.
        machine: what is assumed.
        gathers: times that sharded weights are gathered a step: for each pass.
    """
    compute = flops / (machine.peak * machine.utilisation)
    values = trained / 4  # float32
    if kind == 'sharded':
        sent = ring_share(processes) * (gathers * weights + trained)
        values /= processes
    else:
        sent = 2 * ring_share(processes) * trained
    return StepTime(compute, sent / machine.link(processes), values * _ADAM_BYTES / machine.memory)


def ring_share(processes: int) -> float:
    """What each process of a ring sends of a tensor when it is gathered, or reduced to parts.

    An all-reduce is both, one after the other.
    """
    return (processes - 1) / processes


def planned_flops(backbone: nn.Module, images: tuple[int, ...]) -> int:
    """Operations of a backbone's forward and backward pass, counted without memory.

    What is recomputed counts again; frozen parts count as far as gradients go through them.

    Args:
        backbone: on the meta device, in training mode; it is used up.
        images: shape ``(B, 3, H, W)``.

    Raises:
        ValueError: as `without_memory`.
    """
    with without_memory(backbone, images) as (empty, shaped):
        return count_all_flops(partial(run_passes, empty, shaped))
