"""What must be installed before a tool can run, and how to mend what is not.

An mmcv whose operators do not load (compiled for another torch, say) imports well and fails much
later, at the first NMS. So the operators themselves are imported here, before any configuration is
read.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib import metadata

MIN_PYTHON = (3, 11)
MAX_PYTHON = (3, 12)
TOOLBOXES = {
    'mmdet': 'onedl-mmdetection==3.5.1',
    'mmseg': 'onedl-mmsegmentation==1.4.2',
    # which imports `modelindex`, of the distribution model-index, and does not require it
    'mmpretrain': 'onedl-mmpretrain==1.3.6 model-index',
}
# the original distributions, which hold the files of the maintained ones
ORIGINALS = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmdet': 'onedl-mmdetection',
    'mmsegmentation': 'onedl-mmsegmentation',
}
SETUP = 'run `make env` in the project folder (it makes .venv)'


def missing_pieces(toolboxes: Sequence[str] = ()) -> list[str]:
    """Names what the environment lacks; one line for each problem, with its mend.

    Args:
        toolboxes: import names among `mmdet`, `mmseg`, `mmpretrain` that the work needs.

    Returns:
        A list of messages, empty when all is well.
    """
    problems = []
    version = sys.version_info[:2]
    if not MIN_PYTHON <= version <= MAX_PYTHON:
        problems.append(
            f'Python {version[0]}.{version[1]} is not supported: use 3.11 or 3.12, then {SETUP}.'
        )
    problems += _two_copies()
    problems += _missing_module('mmengine', 'onedl-mmengine==0.10.12')
    mmcv = _missing_module('mmcv', 'onedl-mmcv==2.3.6')
    problems += mmcv
    if not mmcv:
        problems += _missing_operators()
    for name in toolboxes:
        if name not in TOOLBOXES:
            raise ValueError(f'unknown toolbox {name!r}; known: {", ".join(TOOLBOXES)}')
        problems += _missing_module(name, TOOLBOXES[name])
    return problems


def require_openmmlab(toolboxes: Sequence[str] = ()) -> None:
    """Stops the program, with the mend, when the OpenMMLab stack is not whole.

    Args:
        toolboxes: import names among `mmdet`, `mmseg`, `mmpretrain` that the work needs.

    Raises:
        SystemExit: its message lists every problem.
    """
    problems = missing_pieces(toolboxes)
    if problems:
        listed = '\n'.join(f'  - {problem}' for problem in problems)
        raise SystemExit(f'The environment is not complete:\n{listed}')


def _two_copies() -> list[str]:
    both = [name for name, own in ORIGINALS.items() if _has_files(name) and _has_files(own)]
    if not both:
        return []
    names = ' '.join(both)
    own = ' '.join(f'{ORIGINALS[name]}=={metadata.version(ORIGINALS[name])}' for name in both)
    return [
        f'{names} and {own} are both installed, one over the other. Mend: `pip uninstall -y '
        f'{names}`, then `pip install --force-reinstall --no-deps --no-cache-dir {own}`.'
    ]


def _has_files(distribution: str) -> bool:
    try:
        return bool(metadata.distribution(distribution).files)
    except metadata.PackageNotFoundError:
        return False


def _missing_module(name: str, requirement: str) -> list[str]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        return [
            f'{name} cannot be imported ({error}). Mend: {SETUP}, or `pip install {requirement}`.'
        ]
    return []


def _missing_operators() -> list[str]:
    try:
        importlib.import_module('mmcv._ext')
        importlib.import_module('mmcv.ops')
    except (ImportError, OSError) as error:
        return [f"mmcv's operators do not load: {error}"]
    return []
