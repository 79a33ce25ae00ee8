"""Builds the three import packages and the kernels of `msda`; what is declarative is in
pyproject.toml.

`mmcv_ops.pth` is installed beside the packages, from a wheel and editable alike: Python reads it
when it starts, so that every program finds mmcv's operators.

The kernels are optional: whatever hinders their compilation is told, and the packages are installed
without (msda then computes with its PyTorch reference). They need torch at build time, so pip must
be run with ``--no-build-isolation``. Environment variables: ``MSDA_CUDA=0`` leaves the CUDA kernels
out (they are built when there is an nvcc, GPU or not), ``TORCH_CUDA_ARCH_LIST`` names the
architectures, ``MAX_JOBS`` bounds the compiler processes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import Distribution, setup
from setuptools.errors import CompileError

from distutils.command.install_data import install_data  # isort: skip  (setuptools brings it)

SOURCES = Path('ops/csrc')
DEFINES = ['-DTORCH_TARGET_VERSION=0x020a000000000000']  # torch's stable ABI as of 2.10
COMPILE = ['-O3', '-ffp-contract=fast', '-g0', '-Wno-psabi', '-fvisibility=hidden', *DEFINES]
ARCHITECTURES = '8.0;8.6;8.9;9.0+PTX'


def say(message: str) -> None:
    """A line for the log of the installation."""
    sys.stderr.write(f'[msda] {message}\n')


def no_kernels(reason: str) -> dict[str, Any]:
    """The arguments of an installation without kernels."""
    say(f'the kernels are left out: {reason}; the PyTorch reference will serve, which is slow')
    return {}


def toolkit(home: str | None) -> str | None:
    """The folder of the CUDA toolkit, where nvcc on PATH may be a script that calls another one."""
    nvcc = Path(home or '/', 'bin', 'nvcc')
    if not nvcc.exists() or Path(nvcc.parents[1], 'include', 'cuda_runtime.h').exists():
        return home
    command = [str(nvcc), '--dryrun', '-x', 'cu', '-c', os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r'^#\$ TOP=(.*)$', done.stderr, re.MULTILINE)
    return str(Path(nvcc.parent, found[1].strip()).resolve()) if found else home


def cuda_hindrance(cpp_extension: Any) -> str | None:
    """Why there will be no CUDA kernels; None when there will."""
    import torch

    if os.environ.get('MSDA_CUDA') == '0':
        return 'MSDA_CUDA=0'
    if not any((SOURCES / 'cuda').glob('*.cu')):
        return 'there are no CUDA sources'
    if torch.version.cuda is None:
        return 'this torch is without CUDA'
    home = cpp_extension.CUDA_HOME = toolkit(cpp_extension.CUDA_HOME)
    if home is None or not Path(home, 'bin', 'nvcc').exists():
        return f'no nvcc found (CUDA_HOME is {home})'
    return None


def extensions(cpp_extension: Any) -> list[Any]:
    """One library for the CPU, one for CUDA: either is built without the other."""
    headers = [str(path) for path in SOURCES.rglob('*') if path.suffix in ('.h', '.inl', '.cuh')]

    def sources(folder: str, *patterns: str) -> list[str]:
        found = (path for pattern in patterns for path in (SOURCES / folder).glob(pattern))
        return sorted(str(path) for path in found)

    built = [
        cpp_extension.CppExtension(
            'msda._cpu',
            sources('cpu', '*.cpp'),
            depends=headers,
            extra_compile_args={'cxx': COMPILE},
            py_limited_api=True,
        )
    ]
    hindrance = cuda_hindrance(cpp_extension)
    if hindrance:
        say(f'no CUDA kernels: {hindrance}')
        return built
    import torch

    if not torch.cuda.is_available():  # then torch cannot tell which architecture is wanted
        os.environ.setdefault('TORCH_CUDA_ARCH_LIST', ARCHITECTURES)
    built.append(
        cpp_extension.CUDAExtension(
            'msda._cuda',
            sources('cuda', '*.cpp', '*.cu'),
            depends=headers,
            extra_compile_args={
                'cxx': [*COMPILE, '-DUSE_CUDA'],  # torch's C interface shows its streams then
                'nvcc': ['-O3', '-lineinfo', '-std=c++17', *DEFINES],
            },
            py_limited_api=True,
        )
    )
    return built


def kernels() -> dict[str, Any]:
    """The arguments of `setup` that concern the kernels."""
    if not SOURCES.is_dir():
        return no_kernels(f'{SOURCES} is not there')
    try:
        from torch.utils import cpp_extension
    except ImportError:
        return no_kernels('torch cannot be imported (run pip with --no-build-isolation)')

    class BuildKernels(cpp_extension.BuildExtension):
        """Compiles one library after the other; what fails is told, and left out."""

        def build_extensions(self) -> None:
            wanted, self.extensions = self.extensions, []
            for extension in wanted:
                extension.optional = True
                self.extensions = [extension]
                try:
                    super().build_extensions()
                except (Exception, SystemExit) as error:
                    self.leave_out(extension, error)
            self.extensions = wanted

        def build_extension(self, extension: Any) -> None:
            try:
                super().build_extension(extension)
            except Exception as error:
                # what is declared optional is left out upon this class of errors
                self.leave_out(extension, error)
                raise CompileError(f'{extension.name} was not built') from error

        def leave_out(self, extension: Any, error: BaseException) -> None:
            path = Path(self.get_ext_fullpath(extension.name))
            path.unlink(missing_ok=True)  # an older build would not fit the sources
            say(f'{extension.name} could not be compiled: {error}')
            say('installing without it; mend what the compiler says above, and install again')

    return {
        'ext_modules': extensions(cpp_extension),
        'cmdclass': {'build_ext': BuildKernels},
        'options': {'bdist_wheel': {'py_limited_api': 'cp311'}},
    }


class InstallBesidePackages(install_data):
    """Installs the data files where the packages go."""

    def finalize_options(self) -> None:
        """`install_dir` becomes the folder of the packages."""
        self.set_undefined_options('install', ('install_lib', 'install_dir'), ('force', 'force'))
        super().finalize_options()


class WithData(Distribution):
    """Editable installations ask for `has_data`, which setuptools calls `has_data_files`."""

    def has_data(self) -> bool:
        """Whether there are data files."""
        return self.has_data_files()


arguments = kernels()
arguments.setdefault('cmdclass', {})['install_data'] = InstallBesidePackages
setup(distclass=WithData, data_files=[('', ['ops/mmcv_ops.pth'])], **arguments)
