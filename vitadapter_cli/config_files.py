"""Where configurations lie, those of the user and those of the project, and where their runs go.

Those of the project stand beside the packages in a checkout, and inside of `vitadapter_dense` where
it was installed from a wheel. Either way they are named as in the checkout.
"""

from __future__ import annotations

import difflib
import glob
import os
import sys
from pathlib import Path

RECORD = 'run.json'  # in a work directory: the configuration that it was made from
_ROOT = Path(__file__).resolve().parents[1]


def config_path(name: str | Path) -> Path:
    """The file of a configuration.

    Args:
        name: a file, or where there is none, one of the project's own, from any folder and without
            a checkout: `configs/coco/mask_rcnn_vitadapter_s.py`, with or without `configs/` and
            `.py`, and without the folder where no other one has a file of that name.

    Raises:
        FileNotFoundError: names the configurations with similar names, or all of this name.
    """
    path, own = Path(name), own_configs()
    if path.is_file():
        return path
    if not path.is_absolute() and '..' not in path.parts:
        inside = own.joinpath(*path.parts[path.parts[:1] == (own.name,) :])
        found = [file for file in (inside, inside.with_name(f'{inside.name}.py')) if file.is_file()]
        if not found and len(path.parts) == 1 and path.suffix in ('', '.py'):
            found = sorted(own.glob(f'*/{glob.escape(path.stem)}.py'))
        if len(found) == 1:
            return found[0]
        if found:
            choices = ', '.join(str(file.relative_to(own.parent)) for file in found)
            raise FileNotFoundError(f'{len(found)} configurations are called {name}: {choices}.')
    near = _near_files(path)
    hint = f' Did you mean: {", ".join(near)}?' if near else ''
    raise FileNotFoundError(f'There is no configuration file {path}.{hint}')


def own_configs() -> Path:
    """The folder `configs` of the project."""
    packed = _ROOT / 'vitadapter_dense' / 'configs'
    return packed if packed.is_dir() else _ROOT / 'configs'


def default_work_dir(config_path: str | Path) -> Path:
    """Names the work directory of a configuration file, relative to the current folder.

    Args:
        config_path: `configs/ade20k/name.py` gives `work_dirs/ade20k/name`; outside of a folder
            `configs`, the folder that the file lies in stands for the data set. The copy that a run
            left in its work directory belongs to that directory.
    """
    path = Path(os.path.abspath(config_path))
    if (path.parent / RECORD).is_file():
        return Path(config_path).parent
    folders = path.parent.parts[1:]
    if 'configs' in folders:
        last = len(folders) - folders[::-1].index('configs')
        return Path('work_dirs', *folders[last:], path.stem)
    return Path('work_dirs', *folders[-1:], path.stem)


def _near_files(path: Path) -> list[str]:
    """Files with similar names in the folder that was named and among the project's own."""
    own = own_configs()
    files = {file.name: file.relative_to(own.parent) for file in sorted(own.glob('*/*.py'))}
    files |= {file.name: file for file in path.parent.glob('*.py')}
    return [str(files[name]) for name in difflib.get_close_matches(path.name, files, n=3)]


if __name__ == '__main__':  # of `make train`, before anything is installed
    try:
        config_path(sys.argv[1])
    except FileNotFoundError as error:
        sys.exit(f'[make] FAILED: {error}')
