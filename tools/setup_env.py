"""Makes the project's virtual environment: `make env`, which `make train` and `make test` imply.

pip does the work and knows what is there already: a killed set-up goes on where it stopped. mmcv is
built in isolation, where it finds no torch and leaves its compiled operators out: `mmcv_ops` brings
them. MMCV_OPS=compiled builds its own. Both kinds of wheel have one name in pip's cache, which is
therefore not asked for mmcv. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from steps import StepError, duration, run_logged, say, stop

ROOT = Path(__file__).resolve().parent.parent
BUILD_TOOLS = ('pip', 'setuptools', 'wheel', 'packaging', 'ninja', 'psutil')
MMCV = 'onedl-mmcv'
DISK_GB = 8
# Run in the new environment, away from the checkout: what serves, or what is wrong.
REPORT = """
import mmcv_ops, torch, torchvision, mmdet, mmseg, mmcv.ops, msda, vitadapter_dense
device = 'cuda' if torch.cuda.is_available() else 'cpu'
ops = 'its own' if mmcv_ops.is_compiled() else f'torchvision {torchvision.__version__} and msda'
print(f'torch {torch.__version__}; mmcv computes with {ops}; ', end='')
print(f'msda on the {device}: {msda.backend(device)}')
"""


class Environment:
    """One virtual environment and the steps that fill it."""

    def __init__(self, folder: Path, *requirements: Path) -> None:
        self.folder, self.python = folder, folder / 'bin' / 'python'
        self.stamp, self.log = folder / 'setup.done', folder / 'setup.log'
        text = '\n'.join(path.read_text() for path in requirements)
        lines = (line.split('#')[0].strip() for line in text.splitlines())
        self.pins = {line.split('==')[0]: line for line in lines if line}  # the last file has it

    def steps(self) -> dict[str, Callable[[], None]]:
        """What is done and how long it takes -> action, in order."""
        return {
            'virtual environment and build tools': self.begin,
            'pinned requirements (2 to 10 minutes: 3 GB)': self.install_rest,
            'mmcv': self.install_mmcv,
            'this project, with the kernels of msda (1 minute)': self.install_project,
        }

    def key(self) -> str:
        """A hash of everything that the environment is made from."""
        files = (ROOT / name for name in ('pyproject.toml', 'setup.py', 'ops/mmcv_ops.pth'))
        sources = [*files, *(ROOT / 'ops/csrc').rglob('*.*')]
        content = b''.join(path.read_bytes() for path in sorted(sources))
        return hashlib.sha256(
            f'{sys.version_info} {ROOT} {self.pins}'.encode() + content
        ).hexdigest()

    def build(self) -> None:
        """Makes the environment, or finds that it is made."""
        done = self.python.exists() and self.stamp.exists() and self.stamp.read_text() == self.key()
        if done and (os.environ.get('MMCV_OPS') != 'compiled' or 'its own' in self.ask(REPORT)):
            return say(f'environment: {self.folder.name} is up to date')
        say(f'environment: setting up {self.folder} with Python {sys.version.split()[0]}')
        self.stamp.unlink(missing_ok=True)  # from here on it is what it was only in part
        start, todo = time.monotonic(), self.steps()
        for number, (what, action) in enumerate(todo.items(), start=1):
            say(f'step {number}/{len(todo)}: {what}')
            action()
        report = self.ask(REPORT)
        self.stamp.write_text(self.key())
        say(f'environment: ready in {duration(time.monotonic() - start)}; {report}')
        if 'reference' in report:
            say(f'environment: the kernels of msda were not built, {self.log} says why')

    def make_venv(self) -> None:
        """Makes the folder, unless it is one for this Python."""
        asked = [self.python, '-I', '-c', 'import pip, sys; print(sys.version)']
        if self.python.exists():
            done = subprocess.run(asked, capture_output=True, text=True)
            if done.stdout.strip() == sys.version:
                return
        if self.folder.exists() and any(self.folder.iterdir()):
            if not (self.folder / 'pyvenv.cfg').exists():
                raise StepError(f'{self.folder} is not a virtual environment. Mend: move it away.')
            shutil.rmtree(self.folder)
        self.folder.mkdir(exist_ok=True)
        base = getattr(sys, '_base_executable', sys.executable)
        run_logged([base, '-m', 'venv', self.folder], self.log)

    def begin(self) -> None:
        """The folder and what builds packages."""
        self.make_venv()
        self.pip('install', *(self.pins[name] for name in BUILD_TOOLS))

    def install_rest(self) -> None:
        """All that is pinned, but mmcv."""
        self.pip('install', *(pin for name, pin in self.pins.items() if name != MMCV))
        if subprocess.run([self.python, '-I', '-c', 'import cv2'], capture_output=True).returncode:
            # opencv-python lies over opencv-python-headless and wants the libraries of a display
            headless = self.pins['opencv-python-headless']
            self.pip('install', '--force-reinstall', '--no-deps', headless)

    def install_mmcv(self) -> None:
        """mmcv without compiled operators, or with them where they are asked for."""
        options = ['install', '--no-deps', '--no-cache-dir']
        if os.environ.get('MMCV_OPS') != 'compiled':
            return self.pip(*options, self.pins[MMCV], isolated=True)
        say('  its operators are compiled (10 minutes on 2 cores)')
        # mmcv would try CUDA wherever torch sees a GPU, and fail without an nvcc
        gpu = shutil.which('nvcc') and shutil.which('nvidia-smi')
        cuda = {'FORCE_CUDA': '1'} if gpu else {'FORCE_CUDA': '0', 'CUDA_VISIBLE_DEVICES': ''}
        with TemporaryDirectory() as folder:
            variables = {**compile_as('c++20', Path(folder)), **cuda}
            self.pip(*options, '--force-reinstall', self.pins[MMCV], **variables)

    def install_project(self) -> None:
        """The project; then all that is installed must fit together."""
        # verbose, because kernels that do not compile are left out: the log says why
        self.pip('install', '-v', '--no-deps', '--editable', str(ROOT))
        self.pip('check')

    def pip(self, command: str, *arguments: str, isolated: bool = False, **variables: str) -> None:
        """Runs pip with its output in the log; what it builds, it builds with the pinned tools."""
        if command == 'install' and not isolated:
            constraints = self.folder / 'pins.txt'
            constraints.write_text('\n'.join(self.pins.values()))
            arguments += ('--no-build-isolation', '--constraint', str(constraints))
        run_logged([self.python, '-m', 'pip', command, *arguments], self.log, **variables)

    def ask(self, code: str) -> str:
        """What code prints in the environment; raises `StepError` when it fails."""
        command = [self.python, '-I', '-W', 'ignore', '-c', code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
        if done.returncode != 0:
            raise StepError(f'{done.stderr[-2000:]}\n  Mend: remove {self.folder}, run again.')
        return done.stdout.strip()


def compile_as(standard: str, folder: Path) -> dict[str, str]:
    """Variables by which compilers take another standard than mmcv's setup.py asks for.

    That is C++17, with which the headers of torch 2.14 do not compile. The last word counts, so the
    compiler becomes a script in a folder, which adds one; a path with spaces ninja would not take.
    """
    script = folder / 'c++'
    compiler = os.environ.get('CXX') or 'c++'
    script.write_text(f'#!/bin/sh\nexec {compiler} "$@" -std={standard}\n')
    script.chmod(0o755)
    of_nvcc = f'{os.environ.get("NVCC_APPEND_FLAGS", "")} -std={standard}'
    return {'CXX': str(script), 'NVCC_APPEND_FLAGS': of_nvcc}


def check_machine(version: tuple[int, int]) -> None:
    """Raises `StepError` for a Python without pins, or unknown kinds of operators."""
    if not (3, 11) <= version <= (3, 12):
        raise StepError(
            f'Python {version[0]}.{version[1]} does not fit: 3.11 or 3.12 is needed. Mend: install '
            'one of them and name it, as in `make env PYTHON=python3.12`.'
        )
    wanted = os.environ.get('MMCV_OPS', '')
    if wanted not in ('', 'compiled'):
        raise StepError(f'MMCV_OPS={wanted} is not known. Mend: MMCV_OPS=compiled, or none.')


def check_space(folder: Path) -> None:
    """Raises `StepError` where an environment without torch has no room to grow."""
    free = shutil.disk_usage(folder.parent).free / 1e9
    if free < DISK_GB and not any(folder.glob('lib/python3*/site-packages/torch/version.py')):
        raise StepError(
            f'{folder.parent} has {free:.1f} GB free, and {DISK_GB} GB are needed. Mend: free some '
            'space; `pip cache purge` helps.'
        )


def main() -> None:
    """Builds the environment, or ends with what is wrong and the mend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--venv', type=Path, default=ROOT / '.venv', help='default: .venv')
    parser.add_argument('--pins', type=Path, nargs='*', default=[], help='pins to use instead')
    args = parser.parse_args()
    folder = args.venv.absolute()
    # as Ctrl-C: the pip that runs must end too, before a further set-up starts one
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_machine(sys.version_info[:2])
        with folder.with_name(f'{folder.name}.lock').open('w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f'environment: another set-up of {folder.name} runs, and is waited for')
                fcntl.flock(lock, fcntl.LOCK_EX)
            check_space(folder)
            Environment(folder, ROOT / 'requirements.txt', *args.pins).build()
    except StepError as error:
        stop(error)
    except OSError as error:
        stop(StepError(f'{error}. Mend: a folder that can be written to, on a disk with space.'))
    except KeyboardInterrupt:
        stop(StepError('interrupted. A further run goes on where this one stopped.'))


if __name__ == '__main__':
    main()
