"""Where configurations lie: files of the user's, and those that come with the project.

Those of the project stand beside the packages in a checkout, and inside of `vitadapter_dense` where
it was installed from a wheel. Either way they are named as in the checkout.
"""

from __future__ import annotations

import difflib
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def config_path(name: str | Path) -> Path:
    """The file of a configuration.

    Args:
        name: a file, or where there is none, one of the project's own, from any folder and without
            a checkout: `configs/coco/mask_rcnn_vitadapter_s.py`, with or without `configs/`.

    Raises:
        FileNotFoundError: names the configurations with similar names.
    """
    path, own = Path(name), own_configs()
    if path.is_file():
        return path
    if not path.is_absolute() and '..' not in path.parts:
        inside = own.joinpath(*path.parts[path.parts[:1] == (own.name,) :])
        if inside.is_file():
            return inside
    near = _near_files(path)
    hint = f' Did you mean: {", ".join(near)}?' if near else ''
    raise FileNotFoundError(f'There is no configuration file {path}.{hint}')


def own_configs() -> Path:
    """The folder `configs` of the project."""
    packed = _PACKAGE / 'configs'
    return packed if packed.is_dir() else _PACKAGE.parent / 'configs'


def _near_files(path: Path) -> list[str]:
    """Files with similar names in the folder that was named and among the project's own."""
    own = own_configs()
    files = {file.name: file.relative_to(own.parent) for file in sorted(own.glob('*/*.py'))}
    files |= {file.name: file for file in path.parent.glob('*.py')}
    return [str(files[name]) for name in difflib.get_close_matches(path.name, files, n=3)]
