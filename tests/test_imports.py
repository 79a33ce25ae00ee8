"""Who may import whom: the arrows between packages are read off the sources.

Also what an import must not need (mmcv, mmdet, mmseg) and must not do (take a name that a toolbox
has registered), and a few rules of style that no linter knows.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'vitadapter_dense'
# Package -> the project's own packages that it may import (itself always), from the ground up.
ARROWS = {
    'msda': set(),
    'mmcv_ops': {'msda'},
    'vitadapter_cli': set(),
    'adapter': {'msda'},
    'checkpoints': set(),
    'datasets': set(),
    'encoders': {'checkpoints'},
    'tuning': {'checkpoints', 'encoders'},
    'backbones': {'msda', 'adapter', 'checkpoints', 'encoders', 'tuning'},
    'heads': {'encoders', 'tuning'},
    'training': {'checkpoints', 'encoders', 'tuning', 'datasets'},
    'reports': {'checkpoints', 'encoders', 'tuning', 'datasets'},
    'continual': {'checkpoints', 'datasets', 'reports'},
    'command_line': {
        'vitadapter_cli',
        'checkpoints',
        'encoders',
        'tuning',
        'datasets',
        'training',
        'reports',
        'continual',
    },
}
ARROWS['inference'] = {*ARROWS['command_line'], 'command_line'}
ARROWS['export'] = {*ARROWS['inference'], 'inference', 'msda'}
ARROWS['integrations'] = {'vitadapter_cli', 'backbones'}
BESIDE = {'msda': 'ops/msda', 'mmcv_ops': 'ops/mmcv_ops', 'vitadapter_cli': 'vitadapter_cli'}
SUBPACKAGES = tuple(name for name in ARROWS if name not in BESIDE)
# Package -> the only third-party packages it may import, wherever in a file the import stands.
PLAIN = {
    'msda': {'torch'},
    'mmcv_ops': {'torch', 'torchvision'},
    'vitadapter_cli': {'mmengine'},
    'adapter': {'torch'},
    'checkpoints': {'torch', 'numpy', 'safetensors', 'mmengine', 'rich'},
}
# Installed by the set-up, not by `pip install .`: never imported when a module is loaded.
TOOLBOXES = {'mmcv', 'mmdet', 'mmseg', 'mmpretrain'}


@dataclass(frozen=True)
class Import:
    """One imported module, absolute, and whether importing its file already imports it."""

    module: str
    on_load: bool
    where: str


def source_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob('*.py') if '__pycache__' not in path.parts)


def package_folders() -> dict[str, Path]:
    """Every package of the arrows, with its folder."""
    folders = {name: ROOT / PACKAGE / name for name in SUBPACKAGES}
    return folders | {name: ROOT / folder for name, folder in BESIDE.items()}


def module_name(path: Path) -> str:
    """The dotted name of a file of one of the packages."""
    base = ROOT / 'ops' if (ROOT / 'ops') in path.parents else ROOT
    return '.'.join(path.relative_to(base).with_suffix('').parts).removesuffix('.__init__')


def imports_of(path: Path) -> Iterator[Import]:
    """Yields every import of a file; relative ones made absolute."""
    name = module_name(path)
    package = name if path.name == '__init__.py' else name.rpartition('.')[0]
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text()), True)]
    while pending:
        node, on_load = pending.pop()
        where = f'{path.relative_to(ROOT)}:{getattr(node, "lineno", 1)}'
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, on_load, where)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = package.split('.')
                parents = parts[: len(parts) - node.level + 1]
                base = '.'.join([*parents, base] if base else parents)
            for alias in node.names:
                # `from package import name` may import the module package.name
                yield Import(f'{base}.{alias.name}', on_load, where)
        elif isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test):
            pending.extend((child, False) for child in node.body)
            pending.extend((child, on_load) for child in node.orelse)
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            pending.extend((child, on_load and not inside) for child in ast.iter_child_nodes(node))


def own_package(module: str) -> str | None:
    """The package of the arrows that a module belongs to; the root itself counts by its name."""
    parts = module.split('.')
    if parts[0] in BESIDE:
        return parts[0]
    if parts[0] == PACKAGE:
        return parts[1] if len(parts) > 1 and parts[1] in SUBPACKAGES else PACKAGE
    return None


@pytest.mark.parametrize('package', ARROWS)
def test_no_arrow_runs_the_wrong_way(package: str) -> None:
    allowed = ARROWS[package] | {package, None}
    wrong = [
        f'{found.where} imports {found.module}'
        for path in source_files(package_folders()[package])
        for found in imports_of(path)
        if own_package(found.module) not in allowed
    ]
    assert not wrong, f'{package} may import only {sorted(ARROWS[package])}: {wrong}'


def test_every_room_stands_on_the_rooms_below_it() -> None:
    """A new folder needs its arrows, and the arrows run down."""
    rooms = {path.parent.name for path in (ROOT / PACKAGE).glob('*/__init__.py')}
    assert rooms == set(SUBPACKAGES)
    order = list(ARROWS)
    wrong = [
        f'{upper} on {lower}'
        for upper, allowed in ARROWS.items()
        for lower in allowed
        if order.index(lower) >= order.index(upper)
    ]
    assert not wrong, wrong


def test_no_modules_import_each_other() -> None:
    """Neither when they are loaded nor for their types."""
    modules = {module_name(path): path for path in source_files(ROOT / PACKAGE)}
    graph = {
        name: {
            found.module if found.module in modules else found.module.rpartition('.')[0]
            for found in imports_of(path)
        }
        & modules.keys()
        for name, path in modules.items()
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


# what a function may import when it is called: a message names mmcv's version
CALLED_FOR = {'mmcv_ops': ('mmcv',)}


@pytest.mark.parametrize('package', PLAIN)
def test_plain_packages_know_little_else(package: str) -> None:
    wrong = [
        f'{found.where} imports {found.module}'
        for path in source_files(package_folders()[package])
        for found in imports_of(path)
        if own_package(found.module) is None
        and (top := found.module.split('.')[0]) not in PLAIN[package]
        and top not in sys.stdlib_module_names
        and (found.on_load or top not in CALLED_FOR.get(package, ()))
    ]
    assert not wrong, wrong


def test_no_toolbox_is_imported_on_load() -> None:
    wrong = [
        f'{found.where} imports {found.module}'
        for folder in (ROOT / PACKAGE, *(ROOT / name for name in BESIDE.values()))
        for path in source_files(folder)
        for found in imports_of(path)
        if found.on_load and found.module.split('.')[0] in TOOLBOXES
    ]
    assert not wrong, wrong


def test_reader_of_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above are worth what this reader is: relative, nested, guarded imports."""
    monkeypatch.setattr(sys.modules[__name__], 'ROOT', tmp_path)
    file = tmp_path / PACKAGE / 'adapter' / 'file.py'
    file.parent.mkdir(parents=True)
    file.write_text(
        textwrap.dedent("""
            from typing import TYPE_CHECKING
            from ..encoders import tokens
            from . import injector
            if TYPE_CHECKING:
                import timm
            class Thing:
                import mmcv
                def method(self):
                    from mmdet.models import build
        """)
    )
    found = {(item.module, item.on_load) for item in imports_of(file)}
    assert found == {
        ('typing.TYPE_CHECKING', True),
        (f'{PACKAGE}.encoders.tokens', True),
        (f'{PACKAGE}.adapter.injector', True),
        ('timm', False),
        ('mmcv', True),
        ('mmdet.models.build', False),
    }


def run_python(code: str) -> str:
    """Runs code in a fresh process, the packages of the checkout importable."""
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': f'{ROOT}:{ROOT / "ops"}', 'PATH': '/usr/bin:/bin'},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_package_imports_without_the_toolboxes() -> None:
    """`pip install .` brings no mmcv, mmdet or mmseg, and either toolbox alone is enough."""
    out = run_python(f"""
        import sys
        for name in {sorted(TOOLBOXES)!r}:
            sys.modules[name] = None  # its import now fails
        import {PACKAGE}
        from mmengine.registry import MODELS
        print(sorted(MODELS.module_dict))
    """)
    assert 'ViTAdapter' in out


def test_msda_needs_nothing_but_torch() -> None:
    """The op is useful on its own: neither the package nor its dependencies are loaded."""
    out = run_python(f"""
        import sys
        for name in ('timm', 'mmengine', '{PACKAGE}', *{sorted(TOOLBOXES)!r}):
            sys.modules[name] = None
        import msda
        print(msda.__name__)
    """)
    assert out.strip().endswith('msda')


def test_registered_names_are_free_in_every_registry() -> None:
    """mmdet and mmseg find our bare names, so none may be theirs, in whatever registry."""
    out = run_python(f"""
        import mmcv, mmdet.registry, mmseg.registry, mmengine.registry as roots
        import mmdet.utils, mmseg.utils
        mmdet.utils.register_all_modules(init_default_scope=False)
        mmseg.utils.register_all_modules(init_default_scope=False)
        from mmengine.registry import Registry

        def names(registry):
            found = set(registry.module_dict)
            for child in registry.children.values():
                found |= names(child)
            return found

        every = [r for r in vars(roots).values() if isinstance(r, Registry)]
        taken = set().union(*(names(registry) for registry in every))
        before = {{id(registry): set(registry.module_dict) for registry in every}}
        assert len(taken) > 500, taken
        assert {{'MaskRCNN', 'EncoderDecoder', 'TIMMBackbone'}} <= taken
        import {PACKAGE}
        ours = [set(registry.module_dict) - before[id(registry)] for registry in every]
        ours = set().union(*ours)
        print('OURS', sorted(ours))
        print('TAKEN', sorted(ours & taken))
    """)
    lines = dict(line.split(' ', 1) for line in out.splitlines() if line[:5] in ('OURS ', 'TAKEN'))
    assert 'ViTAdapter' in lines['OURS']
    assert lines['TAKEN'] == '[]'


def project_files() -> list[Path]:
    """The text files that are the project: tracked by git, or all where there is no git."""
    done = subprocess.run(
        ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 0 and done.stdout:
        paths = [ROOT / line for line in done.stdout.splitlines()]
    else:
        paths = [
            path
            for name in ('tests', 'tools', 'configs', 'docs', PACKAGE, 'ops')
            for path in (ROOT / name).rglob('*')
        ]
    suffixes = {'.py', '.md', '.sh', '.txt', '.toml', '.yml', '.cpp', '.cu', '.h', '.cuh', ''}
    return [path for path in paths if path.is_file() and path.suffix in suffixes]


def test_no_paths_of_one_machine() -> None:
    """What is committed works wherever it is cloned."""
    homes = tuple(f'/{name}/' for name in ('work', 'root', 'home'))
    wrong = [
        f'{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}'
        for path in project_files()
        for number, line in enumerate(path.read_text(errors='replace').splitlines(), start=1)
        if any(f'{before}{home}' in f' {line}' for home in homes for before in ' \'"`=(:')
    ]
    assert not wrong, wrong


def test_no_heap_of_leftovers() -> None:
    """A file holds one concept and says it in its name."""
    heaps = {'utils.py', 'util.py', 'helpers.py', 'misc.py'}
    assert [str(p.relative_to(ROOT)) for p in project_files() if p.name in heaps] == []
