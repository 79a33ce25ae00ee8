"""Where a model computes."""

from __future__ import annotations

import torch


def checked_device(name: str | torch.device | None = None) -> torch.device:
    """The device of a name; without one, the accelerator that there is, else the CPU.

    Raises:
        ValueError: torch knows no such device, or this machine does not have it.
    """
    if name is None:
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device('cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device {name!r} is not known: cpu, cuda or cuda:1') from error
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f'device {str(device)!r}: torch sees {count} GPUs here. Mend: cpu')
    return device


def checked_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type of a name, that a device computes in.

    Raises:
        ValueError: another name, or a type that the device does not have.
    """
    known = ('float32', 'bfloat16', 'float16')
    if precision not in known:
        raise ValueError(f'precision={precision!r}; it must be one of {", ".join(known)}')
    if precision == 'float16' and device.type == 'cpu':
        raise ValueError("precision='float16' needs a GPU; on a CPU, 'bfloat16' is the narrow type")
    return getattr(torch, precision)
