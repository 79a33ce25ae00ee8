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
