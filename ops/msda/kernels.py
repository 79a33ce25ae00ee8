"""Finds and loads the compiled kernels, and knows what serves on which device, and why.

The kernels are two shared libraries beside this file, ``_cpu`` and ``_cuda``, that register
themselves under the schemas of :mod:`msda.library`. Either may be missing. The environment variable
``MSDA_BACKEND`` forces a choice: ``reference`` loads nothing, ``compiled`` refuses to start without
the library for the CPU.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import torch

VARIABLE = 'MSDA_BACKEND'
_CHOICES = ('auto', 'compiled', 'reference')
_BUILD = 'pip install --no-build-isolation --no-deps -e . (or make env) in the checkout'
_OPERATOR = 'msda::ms_deform_attn_fused'


class Backend(NamedTuple):
    """What serves the operators on a device: ``'compiled'`` or ``'reference'``, and the reason."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f'{self.name} ({self.reason})'


class Kernels:
    """The two libraries of this process."""

    def __init__(self) -> None:
        self.choice = os.environ.get(VARIABLE) or 'auto'
        if self.choice not in _CHOICES:
            raise ValueError(f'{VARIABLE}={self.choice!r} is none of {", ".join(_CHOICES)}')
        self._reasons: dict[str, str] = {}
        self._warned: set[str] = set()

    def load(self) -> None:
        """Loads what is there; call it once the operators are defined."""
        for device in ('cpu', 'cuda'):
            if self.choice == 'reference':
                self._reasons[device] = f'{VARIABLE}=reference'
            else:
                self._reasons[device] = self._load(device)
        if self.choice == 'compiled' and self.backend('cpu').name != 'compiled':
            raise ImportError(
                f'{VARIABLE}=compiled, but {self._reasons["cpu"]}. '
                f'Build the kernels with {_BUILD}, or unset {VARIABLE}'
            )

    def backend(self, device: str | torch.device) -> Backend:
        """What serves on a device."""
        kind = torch.device(device).type
        if kind not in self._reasons:
            return Backend('reference', f'there are no kernels for {kind}')
        served = torch._C._dispatch_has_kernel_for_dispatch_key(_OPERATOR, kind.upper())
        return Backend('compiled' if served else 'reference', self._reasons[kind])

    def warn_of_reference(self, device: torch.device) -> None:
        """Says once for each kind of device that the slow reference serves, unless it was asked
        for."""
        if self.choice == 'reference' or device.type in self._warned:
            return
        self._warned.add(device.type)
        backend = self.backend(device)
        if device.type in self._reasons:
            mend = f' Build the kernels with {_BUILD}, or set {VARIABLE}=reference to say so.'
        else:
            mend = f' Set {VARIABLE}=reference if that is meant.'
        warnings.warn(
            f'msda: the PyTorch reference serves on {device.type}, which is slow: '
            f'{backend.reason}.{mend}',
            stacklevel=2,
        )

    def _load(self, device: str) -> str:
        """Loads one library. Returns how that went."""
        paths = sorted(Path(__file__).parent.glob(f'_{device}*.so'))
        if not paths:
            return f'no compiled library _{device} beside {Path(__file__).name}'
        path = paths[0]
        try:
            torch.ops.load_library(path)
        except OSError as error:
            return f'{path.name} does not load: {error}'
        if device == 'cpu':
            instruction_set = ctypes.CDLL(path).msda_cpu_instruction_set
            instruction_set.restype = ctypes.c_char_p
            return f'{path.name}, {instruction_set().decode()}'
        return path.name


kernels = Kernels()
