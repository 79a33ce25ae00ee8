"""A picture goes into a file of its own: what is there already is not written over."""

from __future__ import annotations

import argparse
from pathlib import Path


def new_file(text: str) -> Path:
    """The file to write, for `argparse`."""
    path = Path(text)
    if path.exists():
        raise argparse.ArgumentTypeError(f'{path} is there already: name another, or remove it')
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f'{path.parent} is no folder')
    return path
