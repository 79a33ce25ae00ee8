"""What the machine offers to the set-up: Python, disk, compiler, GPU; the mend where it lacks one.

Standard library only, because it runs before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from steps import StepError

OLDEST, NEWEST = (3, 11), (3, 12)
DISK_GB, TEMPORARY_GB = 8, 1


def check_python(version: tuple[int, int]) -> None:
    """Raises `StepError` when Python is none that the pinned set exists for."""
    if not OLDEST <= version <= NEWEST:
        raise StepError(
            f'Python {version[0]}.{version[1]} does not fit: 3.11 or 3.12 is needed. Mend: install '
            'one of them and name it, as in `make env PYTHON=python3.12`.'
        )


def check_disk(folder: Path) -> None:
    """Raises `StepError` when the disk has no room for what is yet to come into the environment."""
    torch_is_there = any(folder.glob('lib/python3*/site-packages/torch/version.py'))
    needs = [(folder.parent, 1 if torch_is_there else DISK_GB)]
    needs.append((Path(tempfile.gettempdir()), TEMPORARY_GB))
    for place, needed in needs:
        free = shutil.disk_usage(place).free / 1e9
        if free < needed:
            raise StepError(
                f'{place} has {free:.1f} GB free, and {needed} GB are needed. Mend: free some '
                'space (`pip cache purge` helps), or point TMPDIR to a larger temporary folder.'
            )


def lacking_for_compiling() -> str:
    """What is missing to compile a Python extension, with the mend; empty when nothing is."""
    compiler = os.environ.get('CXX', 'c++').split()[0]
    headers = Path(sysconfig.get_paths()['include']) / 'Python.h'
    version = f'{sys.version_info[0]}.{sys.version_info[1]}'
    lacking = []
    if shutil.which(compiler) is None:
        lacking.append(f'a C++ compiler ({compiler}; on Debian, Ubuntu: apt-get install g++)')
    if not headers.exists():
        lacking.append(f'{headers} (on Debian, Ubuntu: apt-get install python{version}-dev)')
    return ' and '.join(lacking)


def has_gpu() -> bool:
    """Whether the machine has an NVIDIA GPU with a driver."""
    return shutil.which('nvidia-smi') is not None or Path('/dev/nvidiactl').exists()


def find_nvcc() -> Path | None:
    """The CUDA compiler to use; None without one, or without a GPU to use it for."""
    if not has_gpu():
        return None
    homes = [os.environ.get('CUDA_HOME'), os.environ.get('CUDA_PATH'), '/usr/local/cuda']
    places = [Path(home, 'bin', 'nvcc') for home in homes if home]
    on_path = shutil.which('nvcc')
    if on_path:
        places.insert(0, Path(on_path))
    return next((place for place in places if os.access(place, os.X_OK)), None)


def build_jobs() -> int:
    """Compiler processes at a time: one a core, with 2 GB of memory for each."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(len(os.sched_getaffinity(0)), memory // 2**31))
