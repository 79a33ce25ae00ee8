"""The site: `make docs`, what it refuses, and where its links lead."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip('mkdocs', reason='the extra docs is not installed')

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r'(?:href|src)="([^"]*)"')


@pytest.fixture(scope='module')
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location('site_hooks', ROOT / 'tools/docs/site.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'mkdocs', 'build', '--site-dir', str(site)]
    # no proxy answers there: what asked for the network would fail
    nowhere = dict.fromkeys(('http_proxy', 'https_proxy', 'all_proxy'), 'http://127.0.0.1:9')
    return subprocess.run(
        command, cwd=root, env={**os.environ, **nowhere}, capture_output=True, text=True
    )


def public_names() -> set[str]:
    """What each package exports, by its whole name."""
    folders = [*(ROOT / 'vitadapter_dense').glob('*/'), *ROOT.glob('ops/*/')]
    found = set()
    for file in (folder / '__init__.py' for folder in folders):
        package = '.'.join(file.parent.relative_to(ROOT).parts).removeprefix('ops.')
        for node in ast.parse(file.read_text()).body if file.exists() else ():
            if isinstance(node, ast.Assign) and node.targets[0].id == '__all__':
                found |= {f'{package}.{name}' for name in ast.literal_eval(node.value)}
    assert 'vitadapter_dense.backbones.ViTAdapter' in found
    return found


@pytest.mark.slow
def test_the_site_is_whole(tmp_path: Path) -> None:
    """Every link leads to a file, nothing comes from elsewhere."""
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {page: page.read_text() for page in tmp_path.rglob('*.html') if page.name != '404.html'}
    inside = [
        (page, target)
        for page, text in pages.items()
        for target in LINK.findall(text)
        if '://' not in target and not target.startswith(('#', 'mailto:', 'data:'))
    ]
    assert len(inside) > 1000
    assert [
        (page.name, target)
        for page, target in inside
        if not (page.parent / target.partition('#')[0]).exists()
    ] == []
    for text in pages.values():
        assert (
            re.findall(r'<(?:script|img|iframe|link rel="(?!canonical))[^>]*"https?:', text) == []
        )
    whole = ''.join(pages.values())
    assert ':class:`' not in whole
    described = {name for name in public_names() if f'id="{name}"' in whole}
    # constants are described by comments, which are not on the pages
    assert {n for n in public_names() - described if not n.split('.')[-1].isupper()} == set()


@pytest.mark.slow
def test_what_is_broken_fails_the_build(tmp_path: Path) -> None:
    """A link to nothing, to no heading, to no file outside of docs/, and a wrong name in a text."""
    ignored = shutil.ignore_patterns('__pycache__', '*.so', 'csrc', 'experiments')
    for folder in ('docs', 'ops', 'vitadapter_dense', 'tools/docs'):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / 'mkdocs.yml', tmp_path)
    (tmp_path / 'README.md').write_text('# Start\n\n[a](docs/none.md) [b](tools/none.py)\n')
    ops, page = tmp_path / 'ops/README.md', tmp_path / 'docs/tuning.md'
    ops.write_text('# msda\n')
    page.write_text(page.read_text() + '\n[c](faq.md#no-such-heading)\n')
    package = tmp_path / 'ops/msda/__init__.py'
    package.write_text(package.read_text().replace(':func:`backend`', ':func:`back_end`'))
    done = build(tmp_path, tmp_path / 'site')
    assert done.returncode != 0
    assert 'README.md links to docs/none.md' in done.stderr
    assert 'README.md links to tools/none.py' in done.stderr
    assert '#no-such-heading' in done.stderr
    assert 'msda: nothing is named back_end' in done.stderr


@pytest.mark.parametrize(
    ('target', 'source', 'place', 'expected'),
    [
        ('docs/faq.md#which', 'README.md', 'index.md', 'faq.md#which'),
        ('ops/README.md', 'README.md', 'index.md', 'msda.md'),
        ('../../docs/encoders.md', 'configs/coco/README.md', 'models/coco.md', '../encoders.md'),
        ('../configs/coco/README.md', 'docs/results.md', 'results.md', 'models/coco.md'),
        ('images/floors.png', 'docs/architecture.md', 'architecture.md', 'images/floors.png'),
        ('LICENSE', 'README.md', 'index.md', 'https://h/o/r/blob/HEAD/LICENSE'),
        ('configs/', 'README.md', 'index.md', 'https://h/o/r/tree/HEAD/configs'),
        ('benchmark.py', 'ops/README.md', 'msda.md', 'https://h/o/r/blob/HEAD/ops/benchmark.py'),
    ],
)
def test_links(hooks: ModuleType, target: str, source: str, place: str, expected: str) -> None:
    found = hooks.link(target, source=source, place=place, repository='https://h/o/r')
    assert found == expected


def test_code_holds_no_links(hooks: ModuleType) -> None:
    config = SimpleNamespace(repo_url=None)
    page = SimpleNamespace(file=SimpleNamespace(src_uri='index.md'))
    code = '`a[0](b)` and ``x`[0](y)``\n```python\nf[0](1)\n```\n'
    text = f'{code}`over\ntwo` [`LICENSE`](LICENSE) [u](https://u) [`q`](docs/faq.md) {code}'
    expected = f'{code}`over\ntwo` `LICENSE` [u](https://u) [`q`](faq.md) {code}'
    assert hooks.on_page_markdown(text, page, config, files=None) == expected


def test_a_link_out_of_the_site_is_text_where_no_address_is_known(hooks: ModuleType) -> None:
    assert hooks.link('LICENSE', source='README.md', place='index.md', repository=None) is None


@pytest.mark.parametrize(
    ('remote', 'expected'),
    [
        ('git@host.org:o/r.git', 'host.org/o/r'),
        ('https://user:secret@host.org/o/r.git', 'host.org/o/r'),
        ('https://host.org/o/r/', 'host.org/o/r'),
        ('ssh://git@host.org:2222/o/r', 'host.org/o/r'),
        ('/srv/me/r.git', None),
        ('', None),
    ],
)
def test_addresses(hooks: ModuleType, remote: str, expected: str | None) -> None:
    """Without user, password and port; a folder has none."""
    found = hooks.REMOTE.fullmatch(remote)
    assert (f'{found[1]}/{found[2]}' if found else None) == expected
