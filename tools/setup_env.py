"""Makes the project's virtual environment: `make env`, which `make train` and `make test` imply.

The order matters. torch comes before mmcv, which compiles against it; mmcv is built outside of
pip's build isolation, because an isolated build silently leaves out its operators; and what was
built is imported in a fresh process, because a wheel in pip's cache may stem from another torch.
Each finished step leaves a stamp, so that a killed set-up goes on where it stopped and a second run
does nothing. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import (
    build_jobs,
    check_disk,
    check_python,
    find_nvcc,
    has_gpu,
    lacking_for_compiling,
)
from steps import StepError, duration, run_logged, say, stop

ROOT = Path(__file__).resolve().parent.parent
BUILD_TOOLS = ('pip', 'setuptools', 'wheel', 'packaging', 'ninja', 'psutil')
TORCH = ('torch', 'torchvision', 'numpy')
MMCV = 'onedl-mmcv'
EDITABLE = ('--no-build-isolation', '--no-deps', '--editable')

# Run in a fresh process after mmcv is installed: the operators load, and one of them works.
CUDA_VERSION = 'from mmcv.ops import get_compiling_cuda_version'
CHECK_MMCV = f"""
import torch
{CUDA_VERSION}, nms
boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.9], [20.0, 20.0, 29.0, 29.0]])
kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist()
assert kept == [0, 2], kept
print(get_compiling_cuda_version())
"""


class Environment:
    """One virtual environment and the steps that fill it."""

    def __init__(self, folder: Path, requirements: Path) -> None:
        self.folder = folder
        self.python = folder / 'bin' / 'python'
        self.stamps = folder / 'setup.json'
        self.log = folder / 'setup.log'
        self.requirements = requirements
        self.pins = read_pins(requirements.read_text())
        self.nvcc = find_nvcc()

    def steps(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        """Yields `(name, what is done and how long it takes, action)` in order."""
        yield 'venv', 'virtual environment (some seconds)', self.make_venv
        yield 'tools', 'pip and build tools (some seconds)', self.install_tools
        yield 'compiler', 'is there a compiler for mmcv?', self.check_compiler
        yield 'torch', 'torch and torchvision (1 to 10 minutes: 3 GB)', self.install_torch
        yield 'rest', 'pinned requirements (1 to 3 minutes)', self.install_rest
        yield 'mmcv', 'mmcv with its compiled operators (10 minutes on 2 cores)', self.install_mmcv
        yield 'package', 'this project, with the kernels of msda (2 minutes)', self.install_package
        yield 'check', 'the whole set fits together (some seconds)', self.check

    def key(self) -> str:
        """A hash of everything that the environment is made from."""
        digest = hashlib.sha256()
        digest.update(f'{sys.version_info[:3]} {ROOT} {self.nvcc}'.encode())
        sources = [self.requirements, ROOT / 'pyproject.toml', ROOT / 'setup.py', Path(__file__)]
        sources += sorted(path for path in (ROOT / 'ops' / 'csrc').rglob('*') if path.is_file())
        for source in sources:
            digest.update(source.read_bytes())
        return digest.hexdigest()

    def finished(self) -> dict[str, str]:
        """Which steps are done, and the key they were done under."""
        try:
            return json.loads(self.stamps.read_text()) if self.python.exists() else {}
        except (OSError, ValueError):
            return {}

    def build(self) -> None:
        """Does the steps that are not done yet."""
        start, key, finished = time.monotonic(), self.key(), self.finished()
        steps = list(self.steps())
        todo = [step for step in steps if finished.get(step[0]) != key]
        if not todo:
            say(f'environment: {self.folder.name} is up to date')
            return
        check_disk(self.folder)
        say(f'environment: setting up {self.folder} with Python {sys.version.split()[0]}')
        for number, (name, what, action) in enumerate(todo, start=1):
            say(f'step {number}/{len(todo)}: {what}')
            begun = time.monotonic()
            action()
            finished[name] = key
            partial = self.stamps.with_suffix('.part')
            partial.write_text(json.dumps(finished))
            partial.replace(self.stamps)
            say(f'  done in {duration(time.monotonic() - begun)}')
        say(f'environment: ready in {duration(time.monotonic() - start)} ({self.operators()})')
        say(f'environment: {self.kernels()}')

    def make_venv(self) -> None:
        ask_version = 'import pip, sys; print(sys.version_info[:3])'
        if self.python.exists() and self._answers(ask_version) == str(sys.version_info[:3]):
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            if not (self.folder / 'pyvenv.cfg').exists():
                raise StepError(f'{self.folder} is not a virtual environment. Mend: move it away.')
            say(f'  {self.folder} is for another Python or not whole: making it anew')
        base = getattr(sys, '_base_executable', sys.executable)
        command = [base, '-m', 'venv', '--clear', str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            version = f'{sys.version_info[0]}.{sys.version_info[1]}'
            raise StepError(
                f'{" ".join(command)} failed:\n{done.stdout}{done.stderr}\n  Mend: on Debian or '
                f'Ubuntu, apt-get install python{version}-venv; or choose another interpreter: '
                'make env PYTHON=python3.12'
            )

    def install_tools(self) -> None:
        self._pip('install', *self._pinned(BUILD_TOOLS))

    def check_compiler(self) -> None:
        lacking = lacking_for_compiling()
        if not lacking or not self.mmcv_fault():
            return
        probe = ('--dry-run', '--ignore-installed', '--no-deps', '--only-binary', MMCV)
        try:
            self._pip('install', *probe, *self._pinned([MMCV]))
        except StepError:
            raise StepError(
                f'mmcv must be compiled here, and what is missing for that is {lacking}. Install '
                'it and run again: the finished steps are not repeated.'
            ) from None

    def install_torch(self) -> None:
        self._pip('install', *self._pinned(TORCH))

    def install_rest(self) -> None:
        names = [name for name in self.pins if name != MMCV]
        # The toolboxes come as source distributions: build them with the pinned setuptools.
        self._pip('install', '--no-build-isolation', *self._pinned(names))
        if self._fails('import cv2'):
            # opencv-python lies over opencv-python-headless and wants the libraries of a display.
            headless = self._pinned(['opencv-python-headless'])
            self._pip('install', '--force-reinstall', '--no-deps', *headless)

    def install_mmcv(self) -> None:
        if not self.mmcv_fault():
            return
        requirement = self._pinned([MMCV])
        install = ('install', '-v', '--no-build-isolation', '--no-deps')
        variables = self.mmcv_variables()
        self._pip(*install, *requirement, variables=variables)
        fault = self.mmcv_fault()
        if fault:
            say('  the operators do not load (a wheel for another torch?): compiling them anew')
            fresh = ('--no-cache-dir', '--force-reinstall', '--no-binary', MMCV)
            self._pip(*install, *fresh, *requirement, variables=variables)
            fault = self.mmcv_fault()
        if fault:
            raise StepError(
                f'mmcv was compiled, but its operators do not work:\n{fault}\n  Mend: see the '
                f'compiler output in {self.log}; then remove {self.folder} and run again.'
            )

    def install_package(self) -> None:
        # Verbose, because kernels that do not compile are left out: the log says why.
        self._pip('install', '-v', *EDITABLE, str(ROOT))

    def check(self) -> None:
        self._pip('check')
        for names in ('mmengine, mmdet, mmseg', 'vitadapter_dense, msda'):
            fault = self._fails(f'import {names}')
            if fault:
                raise StepError(
                    f'`import {names}` fails:\n{fault}\n  Mend: remove {self.folder} and run again.'
                )

    def mmcv_fault(self) -> str | None:
        """What is wrong with the installed mmcv; None when its operators work."""
        done = self._run(CHECK_MMCV)
        if done.returncode != 0:
            return done.stderr[-2000:]
        if self.cuda_wanted() and done.stdout.splitlines()[-1] == 'not available':
            return f'it was compiled without CUDA, and there are a GPU and {self.nvcc}'
        return None

    def cuda_wanted(self) -> bool:
        """Whether mmcv gets its CUDA operators: a GPU, and an nvcc of the torch's major version."""
        if self.nvcc is None:
            return False
        done = subprocess.run([self.nvcc, '--version'], capture_output=True, text=True, check=False)
        release = re.search(r'release (\d+)', done.stdout)
        wanted = self._answers('import torch; print(torch.version.cuda)').split('.')[0]
        return release is not None and release.group(1) == wanted

    def mmcv_variables(self) -> dict[str, str]:
        """Environment variables for compiling mmcv."""
        variables = {
            'MMCV_WITH_OPS': '1',
            'MAX_JOBS': os.environ.get('MAX_JOBS', str(build_jobs())),
        }
        if self.cuda_wanted():
            return {**variables, 'FORCE_CUDA': '1', 'CUDA_HOME': str(self.nvcc.parents[1])}
        # mmcv would try CUDA wherever torch sees a GPU, and fail without an nvcc.
        return {**variables, 'FORCE_CUDA': '0', 'CUDA_VISIBLE_DEVICES': ''}

    def operators(self) -> str:
        """In words, which operators mmcv has, and what to do when a GPU goes unused."""
        version = self._answers(f'{CUDA_VERSION}; print(get_compiling_cuda_version())')
        if version not in ('', 'not available'):  # a wheel may bring them where there is no nvcc
            return f'mmcv has operators for CUDA {version}'
        if not has_gpu():
            return 'mmcv has CPU operators'
        cuda = self._answers('import torch; print(torch.version.cuda)')
        return (
            'mmcv has CPU operators only, so detectors cannot train on the GPU of this machine. '
            f'Mend: install the CUDA toolkit {cuda} (nvcc on PATH), then run make env again'
        )

    def kernels(self) -> str:
        """In words, what serves `msda` here, and what to do when its kernels were not built."""
        device = 'cuda' if has_gpu() else 'cpu'
        found = self._answers(f'import msda; print(msda.backend({device!r}))')
        if found.startswith('compiled'):
            return f'msda on the {device}: {found}'
        return (
            f'msda on the {device} is slow: {found}. Mend: see what the compiler says in '
            f'{self.log}, then run {self.python} -m pip install {" ".join(EDITABLE)} {ROOT}'
        )

    def _pinned(self, names: list[str] | tuple[str, ...]) -> list[str]:
        return [self.pins[name] for name in names]

    def _pip(self, *arguments: str, variables: dict[str, str] | None = None) -> None:
        command = [str(self.python), '-m', 'pip', *arguments]
        if arguments[0] == 'install':
            command += ['--constraint', str(self.requirements)]
        run_logged(command, self.log, env=variables, cwd=self.folder)

    def _run(self, code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python), '-I', '-c', code],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,  # nothing of the checkout may stand in for what is installed
        )

    def _fails(self, code: str) -> str | None:
        done = self._run(code)
        return None if done.returncode == 0 else done.stderr[-2000:]

    def _answers(self, code: str) -> str:
        return self._run(code).stdout.strip()


def read_pins(text: str) -> dict[str, str]:
    """Reads requirements of the form `name==version`: a name maps to its whole line."""
    lines = (line.split('#')[0].strip() for line in text.splitlines())
    return {re.split(r'[=<>!~ ]', line)[0]: line for line in lines if line}


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Lets a second set-up of the same folder wait for the first."""
    with lock.open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say('another run is setting up the environment: waiting for it')
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Builds the environment, or ends with what is wrong and the mend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--venv', type=Path, default=ROOT / '.venv', help='default: .venv')
    folder = parser.parse_args().venv.absolute()
    # As Ctrl-C: the pip that runs must end too, before a further set-up starts one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_python(sys.version_info[:2])
        with only_one(folder.with_name(f'{folder.name}.lock')):
            Environment(folder, ROOT / 'requirements.txt').build()
    except StepError as error:
        stop(error)
    except KeyboardInterrupt:
        stop(StepError('interrupted. A further run goes on where this one stopped.'))


if __name__ == '__main__':
    main()
