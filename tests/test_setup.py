"""The set-up behind `make`: what it refuses and how it says so, what it repeats and what not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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
    import machine
    import setup_env
    import steps
    import train_and_show

    modules = (machine, setup_env, steps, train_and_show)
    return {module.__name__: module for module in modules}


@pytest.fixture
def environment(tools: dict[str, ModuleType], tmp_path: Path) -> object:
    """A set-up for an empty folder, whose steps only write down that they were done."""
    requirements = tmp_path / 'requirements.txt'
    shutil.copy(ROOT / 'requirements.txt', requirements)
    made = tools['setup_env'].Environment(tmp_path / 'venv', requirements)
    (made.folder / 'bin').mkdir(parents=True)
    made.python.touch()
    made.done = []
    made.broken = None

    def act(name: str) -> None:
        if name == made.broken:
            raise tools['steps'].StepError(f'{name} is broken')
        made.done.append(name)

    names = [name for name, _, _ in made.steps()]
    made.steps = lambda: ((name, name, lambda name=name: act(name)) for name in names)
    made.operators = made.kernels = lambda: 'nothing compiled'
    made.names = names
    return made


@pytest.mark.parametrize('version', [(3, 10), (3, 13), (2, 7)])
def test_wrong_python_is_refused(tools: dict[str, ModuleType], version: tuple[int, int]) -> None:
    with pytest.raises(tools['steps'].StepError, match=r'3\.11 or 3\.12.*PYTHON='):
        tools['machine'].check_python(version)


def test_right_python_is_accepted(tools: dict[str, ModuleType]) -> None:
    metadata = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    assert metadata['project']['requires-python'] == '>=3.11,<3.13'
    for version in ((3, 11), (3, 12)):
        tools['machine'].check_python(version)


def test_full_disk_is_refused_by_name(
    tools: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda place: usage(10**12, 10**12, 2 * 10**9))
    with pytest.raises(tools['steps'].StepError, match=f'{tmp_path} has 2.0 GB free, and 8 GB'):
        tools['machine'].check_disk(tmp_path / '.venv')


def test_missing_compiler_is_named(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('CXX', 'no-such-compiler')
    assert (
        'no-such-compiler; on Debian, Ubuntu: apt-get install g++'
        in tools['machine'].lacking_for_compiling()
    )


def test_missing_compiler_stops_only_where_there_is_no_wheel(
    tools: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_error = tools['steps'].StepError
    made = tools['setup_env'].Environment(tmp_path / 'venv', ROOT / 'requirements.txt')
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.setattr(made, 'mmcv_fault', lambda: 'not installed')
    monkeypatch.setattr(made, '_pip', lambda *arguments: None)
    made.check_compiler()  # the probe found a wheel

    def fail(*arguments: str) -> None:
        raise step_error('no wheel')

    monkeypatch.setattr(made, '_pip', fail)
    with pytest.raises(step_error, match='mmcv must be compiled here.*no-such-compiler'):
        made.check_compiler()


@pytest.mark.parametrize(
    ('output', 'advice'),
    [
        ('OSError: [Errno 28] No space left on device', 'TMPDIR'),
        ('NewConnectionError(...): Failed to establish a new connection', 'network'),
        ('ERROR: No matching distribution found for torch==2.11.0', 'PIP_FIND_LINKS'),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1'),
        ('fatal error: Python.h: No such file or directory', 'python3-dev'),
        ("error: command 'g++' failed: No such file or directory", r'apt-get install g\+\+'),
        ('The detected CUDA version (12.4) mismatches the version', 'CUDA toolkit'),
    ],
)
def test_known_failures_get_their_mend(
    tools: dict[str, ModuleType], tmp_path: Path, output: str, advice: str
) -> None:
    command = [sys.executable, '-c', f'print({output!r}); raise SystemExit(3)']
    with pytest.raises(tools['steps'].StepError, match=f'(?s)status 3.*Mend: .*{advice}') as caught:
        tools['steps'].run_logged(command, tmp_path / 'log')
    assert output in str(caught.value)
    assert output in (tmp_path / 'log').read_text()


def test_unknown_failure_shows_its_last_lines(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    command = [sys.executable, '-c', 'print("an odd thing"); raise SystemExit(1)']
    with pytest.raises(tools['steps'].StepError, match=r'(?s)an odd thing.*Whole output: .*log'):
        tools['steps'].run_logged(command, tmp_path / 'log')
    assert tools['steps'].mend_for('an odd thing') is None


def test_second_run_does_nothing(environment: object) -> None:
    environment.build()
    assert environment.done == environment.names
    environment.build()
    assert environment.done == environment.names


def test_stopped_run_goes_on_where_it_stopped(environment: object) -> None:
    environment.broken = 'rest'
    with pytest.raises(RuntimeError, match='rest is broken'):
        environment.build()
    before = environment.names[: environment.names.index('rest')]
    assert environment.done == before
    environment.broken = None
    environment.build()
    assert environment.done == environment.names


def test_changed_requirements_are_installed(environment: object) -> None:
    environment.build()
    with environment.requirements.open('a') as file:
        file.write('one-more==1.0\n')
    environment.build()
    assert environment.done == environment.names * 2


def test_broken_stamps_are_no_stamps(environment: object) -> None:
    environment.build()
    environment.stamps.write_text(json.dumps({'venv': 'x'})[:-3])
    environment.build()
    assert environment.done == environment.names * 2


def test_another_folder_is_not_overwritten(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'dear.jpg').touch()
    made = tools['setup_env'].Environment(tmp_path / 'photos', ROOT / 'requirements.txt')
    with pytest.raises(tools['steps'].StepError, match='photos is not a virtual environment'):
        made.make_venv()
    assert (tmp_path / 'photos' / 'dear.jpg').exists()


def test_every_requirement_is_pinned_and_belongs_to_a_step(tools: dict[str, ModuleType]) -> None:
    setup_env = tools['setup_env']
    pins = setup_env.read_pins((ROOT / 'requirements.txt').read_text())
    assert all(line.startswith(f'{name}==') for name, line in pins.items()), pins
    assert {*setup_env.BUILD_TOOLS, *setup_env.TORCH, setup_env.MMCV} <= set(pins)
    declared = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['dependencies']
    assert {line.split('>')[0] for line in declared} <= set(pins)


def test_train_passes_shared_options_to_both(tools: dict[str, ModuleType]) -> None:
    script = tools['train_and_show']
    words = ['configs/coco/x.py', '--work-dir', 'w', '--data-root', 'd', '--amp', 'bfloat16']
    args, extra = script.parse_args(words)
    commands = [command for _, command in script.steps(args, extra)]
    assert [command[0] for command in commands] == ['train.py', 'test.py', 'analysis/plot_logs.py']
    for command in commands[:2]:
        assert command[command.index('--data-root') + 1] == 'd'
        assert command[command.index('--work-dir') + 1] == 'w'
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


def test_written_files_are_listed(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / 'pictures').mkdir()
    for number in range(20):
        (tmp_path / 'pictures' / f'{number}.png').touch()
    for name in ('curves.png', 'epoch_1.pth'):
        (tmp_path / name).touch()
    for name in ('epoch_0.pth', 'of_a_run_before.log'):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    listed = tools['train_and_show'].written_since(10, [tmp_path, tmp_path / 'not-there'])
    names = ('curves.png', 'epoch_0.pth', 'epoch_1.pth')
    expected = [str(tmp_path / name) for name in names]
    assert listed == [*expected, f'{tmp_path / "pictures"}/ (20 files)']


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
