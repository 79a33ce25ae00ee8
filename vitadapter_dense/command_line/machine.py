"""What the machine has that a run must fit: memory and cores."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path

import torch

_GB = 2**30
_CGROUP = Path('/sys/fs/cgroup/memory.max')  # what a container may use


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a run computes.

    Attributes:
        gpu: its name; empty where there is none.
        memory_gb: of the GPU, else of the machine.
        cores: that this process may use.
    """

    gpu: str
    memory_gb: float
    cores: int

    def __str__(self) -> str:
        name = self.gpu or f'CPU, {self.cores} cores'
        return f'{name}, {self.memory_gb:.0f} GB'


def this_machine() -> Machine:
    """The first GPU, else the CPU."""
    cores = len(os.sched_getaffinity(0))
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        return Machine(device.name, device.total_memory / _GB, cores)
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    with suppress(OSError, ValueError):  # no limit
        memory = min(memory, int(_CGROUP.read_text()))
    return Machine('', memory / _GB, cores)
