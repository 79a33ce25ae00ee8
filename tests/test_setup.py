"""The set-up behind `make`: what it refuses and how it says so, what it repeats and what not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of tools/ as the scripts see each other."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import setup_env
    import steps
    import train_and_show

    return {module.__name__: module for module in (setup_env, steps, train_and_show)}


@pytest.fixture
def environment(tools: dict[str, ModuleType], tmp_path: Path) -> object:
    """A set-up for an empty folder, whose commands are only written down."""
    made = tools['setup_env'].Environment(tmp_path / 'venv', ROOT / 'requirements.txt')
    made.done = []
    made.broken = None

    def pip(*arguments: str, **options: object) -> None:
        if made.broken in arguments:
            raise tools['steps'].StepError(f'{made.broken} is broken')
        made.done.append((arguments, options))

    def make_venv() -> None:
        made.python.parent.mkdir(parents=True, exist_ok=True)
        made.python.symlink_to(sys.executable)

    made.pip, made.make_venv, made.ask = pip, make_venv, lambda code: 'torchvision'
    return made


@pytest.mark.parametrize('version', [(3, 10), (3, 13), (2, 7)])
def test_wrong_python_is_refused(tools: dict[str, ModuleType], version: tuple[int, int]) -> None:
    with pytest.raises(tools['steps'].StepError, match=r'3\.11 or 3\.12.*PYTHON='):
        tools['setup_env'].check_machine(version)


def test_right_python_is_accepted(tools: dict[str, ModuleType]) -> None:
    metadata = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    assert metadata['project']['requires-python'] == '>=3.11,<3.13'
    for version in ((3, 11), (3, 12)):
        tools['setup_env'].check_machine(version)


def test_operators_of_an_unknown_kind_are_refused(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MMCV_OPS', 'compile')
    with pytest.raises(tools['steps'].StepError, match='MMCV_OPS=compile is not known'):
        tools['setup_env'].check_machine((3, 12))


def test_full_disk_is_refused_by_name(
    tools: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda place: usage(10**12, 10**12, 2 * 10**9))
    with pytest.raises(tools['steps'].StepError, match=f'{tmp_path} has 2.0 GB free, and 8 GB'):
        tools['setup_env'].check_space(tmp_path / '.venv')


@pytest.mark.parametrize(
    ('output', 'advice'),
    [
        ('OSError: [Errno 28] No space left on device', 'TMPDIR'),
        ('NewConnectionError(...): Failed to establish a new connection', 'network'),
        ('ERROR: No matching distribution found for torch==2.11.0', 'PIP_FIND_LINKS'),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1'),
        ('an odd thing', 'see above'),
    ],
)
def test_failures_show_their_last_lines_and_the_mend(
    tools: dict[str, ModuleType], tmp_path: Path, output: str, advice: str
) -> None:
    command = [sys.executable, '-c', f'print({output!r}); raise SystemExit(3)']
    with pytest.raises(tools['steps'].StepError, match=f'(?s)status 3.*Mend: .*{advice}') as caught:
        tools['steps'].run_logged(command, tmp_path / 'log')
    assert output in str(caught.value)
    assert output in (tmp_path / 'log').read_text()


def test_packages_of_other_environments_do_not_count(
    tools: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip would find them on PYTHONPATH, and leave out what the new environment then lacks."""
    (tmp_path / 'pinned.py').touch()
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setenv('PIP_USER', '1')
    command = [sys.executable, '-c', 'import os; print(os.environ["PIP_USER"]); import pinned']
    with pytest.raises(tools['steps'].StepError, match="No module named 'pinned'"):
        tools['steps'].run_logged(command, tmp_path / 'log')
    assert '\n0\n' in (tmp_path / 'log').read_text()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    command = [sys.executable, str(ROOT / 'tools/setup_env.py'), '--venv', str(tmp_path / 'file/v')]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith('[make] FAILED: ')
    assert f"'{tmp_path}/file" in done.stderr
    assert 'Traceback' not in done.stderr
    assert 'Mend: ' in done.stderr


def test_second_run_does_nothing(environment: object) -> None:
    environment.build()
    steps = list(environment.done)
    environment.build()
    assert environment.done == steps


def test_stopped_run_is_not_taken_for_a_finished_one(environment: object) -> None:
    environment.broken = 'check'
    with pytest.raises(RuntimeError, match='check is broken'):
        environment.build()
    environment.broken, environment.make_venv = None, lambda: None
    before = len(environment.done)
    environment.build()
    assert len(environment.done) == 2 * before + 1


def test_a_change_that_was_stopped_and_taken_back_is_not_taken_for_done(
    environment: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.build()
    before, environment.make_venv = len(environment.done), lambda: None
    monkeypatch.setenv('MMCV_OPS', 'compiled')
    environment.broken = environment.pins['onedl-mmcv']
    with pytest.raises(RuntimeError, match='onedl-mmcv.* is broken'):
        environment.build()
    monkeypatch.delenv('MMCV_OPS')
    environment.broken = None
    started = len(environment.done)
    environment.build()
    assert len(environment.done) == started + before


@pytest.mark.parametrize('change', ['pins', 'stamp'])
def test_changes_are_installed(environment: object, change: str) -> None:
    environment.build()
    before, environment.make_venv = len(environment.done), lambda: None
    if change == 'pins':
        environment.pins['timm'] = 'timm==1.0.0'
    else:
        environment.stamp.write_text('')
    environment.build()
    assert len(environment.done) == 2 * before


def test_both_kinds_of_mmcv_pass_by_the_cache(
    environment: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both wheels have one name in pip's cache; only an isolated build leaves the operators out."""
    environment.install_mmcv()
    monkeypatch.setenv('MMCV_OPS', 'compiled')
    environment.install_mmcv()
    (plain, plain_options), (compiled, compiled_options) = environment.done
    assert '--no-cache-dir' in plain
    assert '--no-cache-dir' in compiled
    assert '--force-reinstall' in compiled
    assert plain_options == {'isolated': True}
    assert compiled_options['FORCE_CUDA'] in ('0', '1')
    assert 'std=c++20' in compiled_options['NVCC_APPEND_FLAGS']


@pytest.mark.parametrize('compiler', ['', 'sh own'])
def test_mmcv_is_compiled_by_the_standard_of_the_newest_torch(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str
) -> None:
    """Its setup.py asks for C++17, which the headers of torch 2.14 are not. A compiler of one's
    own may call the usual one."""
    bin, folder = tmp_path / 'bin', tmp_path / 'folder'
    for place in (bin, folder):
        place.mkdir()
    (bin / 'c++').write_text('#!/bin/sh\necho "$@"\n')
    (bin / 'c++').chmod(0o755)
    (tmp_path / 'own').write_text('exec c++ -own "$@"\n')
    monkeypatch.setenv('PATH', f'{bin}:/usr/bin:/bin')
    monkeypatch.setenv('CXX', compiler)
    variables = tools['setup_env'].compile_as('c++20', folder)
    done = subprocess.run(
        [variables['CXX'], '-std=c++17', 'two words'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == f'{"-own " if compiler else ""}-std=c++17 two words -std=c++20\n'
    assert variables['NVCC_APPEND_FLAGS'].endswith(' -std=c++20')


def test_operators_are_compiled_when_asked_for_later(
    environment: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.build()
    monkeypatch.setenv('MMCV_OPS', 'compiled')
    environment.make_venv = lambda: None
    environment.build()
    assert any('FORCE_CUDA' in options for _, options in environment.done)
    environment.ask = lambda code: 'mmcv computes with its own'
    steps = list(environment.done)
    environment.build()
    assert environment.done == steps


def test_another_folder_is_not_overwritten(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'dear.jpg').touch()
    made = tools['setup_env'].Environment(tmp_path / 'photos', ROOT / 'requirements.txt')
    with pytest.raises(tools['steps'].StepError, match='photos is not a virtual environment'):
        made.make_venv()
    assert (tmp_path / 'photos' / 'dear.jpg').exists()


def test_every_requirement_is_pinned(tools: dict[str, ModuleType]) -> None:
    setup_env = tools['setup_env']
    pins = setup_env.Environment(Path('venv'), ROOT / 'requirements.txt').pins
    assert all(line.startswith(f'{name}==') for name, line in pins.items()), pins
    assert {*setup_env.BUILD_TOOLS, setup_env.MMCV} <= set(pins)
    declared = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['dependencies']
    assert {line.split('>')[0] for line in declared} <= set(pins)


def test_the_oldest_torch_is_the_lower_bound(tools: dict[str, ModuleType]) -> None:
    both = [ROOT / name for name in ('requirements.txt', 'requirements-oldest.txt')]
    newest, oldest = (
        tools['setup_env'].Environment(Path('venv'), *both[:count]).pins for count in (1, 2)
    )
    changed = {name for name in oldest if oldest[name] != newest.get(name)}
    assert changed == {'torch', 'torchvision'}
    declared = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['dependencies']
    for name in changed:
        (bound,) = (line for line in declared if line.startswith(f'{name}>'))
        assert oldest[name].startswith(bound.split(',')[0].replace('>=', '=='))


def test_train_passes_shared_options_to_both(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    script = tools['train_and_show']
    run = str(tmp_path)
    words = ['configs/coco/x.py', '--work-dir', run, '--data-root', 'd', '--amp', 'bfloat16']
    args, extra = script.parse_args(words)
    assert '--resume' not in script.train_command(args, extra)
    (tmp_path / 'iter_1.pth').touch()
    commands = [command for _, command in script.steps(args, extra)]
    assert [command[0] for command in commands] == ['train.py', 'test.py', 'analysis/plot_logs.py']
    for command in commands[:2]:
        assert command[command.index('--data-root') + 1] == 'd'
        assert command[command.index('--work-dir') + 1] == run
    assert commands[0][-3:] == ['--resume', '--amp', 'bfloat16']
    assert '--amp' not in commands[1]


@pytest.mark.parametrize('start', [['--resume', 'x.pth'], ['--load-from=x.pth']])
def test_train_starts_where_it_is_told(tools: dict[str, ModuleType], start: list[str]) -> None:
    script = tools['train_and_show']
    args, extra = script.parse_args(['configs/shapes/x.py', '--work-dir', 'w', *start])
    commands = [command for _, command in script.steps(args, extra)]
    assert commands[0][0] == 'dataset/make_shapes.py'
    assert commands[1][-len(start) :] == start
    assert '--resume' not in commands[1][: -len(start)]


def test_what_people_want_is_named(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    names = (
        'report.html',
        'curves.png',
        'best_mIoU_iter_3.pth',
        'unet.py',
        'iter_3.pth',
        '.in_use',
    )
    for name in names:
        (tmp_path / name).touch()
    listed = [path.name for path in tools['train_and_show'].to_look_at(tmp_path)]
    assert listed == list(names[:4])


@pytest.mark.parametrize('there', [False, True])
def test_make_names_the_mend_without_python(tmp_path: Path, there: bool) -> None:
    if shutil.which('make') is None:
        pytest.skip('no make')
    python = tmp_path / 'python'
    if there:  # as pyenv's shims of versions that are not chosen
        python.write_text('#!/bin/sh\nexit 127\n')
        python.chmod(0o755)
    done = subprocess.run(
        ['make', 'env', f'PYTHON={python}'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f'no Python 3.11 or 3.12 found under the name {python}. Mend:' in done.stderr


@pytest.mark.parametrize(('sent', 'seconds'), [(signal.SIGINT, 1), (signal.SIGTERM, 600)])
def test_an_interrupted_command_ends_in_its_own_way(
    tools: dict[str, ModuleType], tmp_path: Path, sent: signal.Signals, seconds: int
) -> None:
    """Ctrl-C goes to the whole group of processes: a training writes a checkpoint then."""
    code = (
        'import os, pathlib, signal, sys, time\n'
        'signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n'
        f'try:\n    os.kill(os.getppid(), {sent:d})\n    time.sleep({seconds})\n'
        f'finally:\n    pathlib.Path({str(tmp_path / "kept")!r}).touch()'
    )
    present = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            tools['train_and_show'].run_shown([sys.executable, '-c', code])
    finally:
        signal.signal(signal.SIGINT, present)
    assert (tmp_path / 'kept').exists()
    assert time.monotonic() - began < 300


def test_a_signal_that_comes_while_a_command_starts_is_not_lost(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load a command may run for long before its process is known."""
    start = subprocess.Popen

    def slow(command: list[str]) -> subprocess.Popen:
        process = start(command)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, 'Popen', slow)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        tools['train_and_show'].run_shown(['sleep', '600'])
    assert signal.getsignal(signal.SIGTERM) == before
