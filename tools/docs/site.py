"""Hooks of the site (mkdocs.yml): pages from outside `docs/`, and links that lead outside.

The README becomes the first page, the READMEs beside code and configs pages of their own, and each
package a page made of its docstrings. A link to a file that is no page leads to the repository's
address; one to a file that isn't there fails the build.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
log = get_plugin_logger('site')

# code between equal rows of backticks, where nothing is a link; or a link: its text, its target
LINKS = re.compile(r'(`+)(?!`).*?(?<!`)\1(?!`)|\[([^\[\]]*)\]\(([^)\s]+)\)', re.DOTALL)
# git@host:path, https://user:secret@host/path.git, ...; a remote that is a folder has no address
REMOTE = re.compile(r'(?:https?://|ssh://|git@)(?:[^@/]*@)?([^/:]+)(?::\d+/|[:/])(.+?)(?:\.git)?/?')

# options of mkdocstrings
OWN_TEXT_ALONE = '    options: {members: false}'
WITH_HEADING = '    options: {show_root_heading: true, show_root_toc_entry: true}'


def readmes() -> dict[str, str]:
    """Pages whose text lies outside `docs/`: place in the site -> file in the repository."""
    models = sorted(ROOT.glob('configs/*/README.md'))
    return {
        'index.md': 'README.md',
        'msda.md': 'ops/README.md',
        **{f'models/{path.parent.name}.md': str(path.relative_to(ROOT)) for path in models},
    }


def packages() -> list[str]:
    """The packages with a page of their docstrings: those with public names."""
    inner = sorted(ROOT.glob('vitadapter_dense/*/__init__.py'))
    files = [ROOT / 'vitadapter_dense' / '__init__.py', *inner]
    files += [ROOT / 'ops' / name / '__init__.py' for name in ('msda', 'mmcv_ops')]
    return [
        '.'.join(file.parent.relative_to(ROOT).parts).removeprefix('ops.')
        for file in files
        if '__all__' in file.read_text()
    ]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills in the navigation, and asks git for the repository's address."""
    made = [*readmes(), *(f'api/{name}.md' for name in packages())]
    for entry in config.nav or []:
        for title, place in entry.items():
            if isinstance(place, str) and place.endswith('/'):
                entry[title] = [page for page in made if page.startswith(place)]
    config.repo_url = config.repo_url or address()
    return config


def address() -> str | None:
    """Where the repository is to be seen: of the remote `origin`, without a user or a password."""
    command = ['git', '-C', str(ROOT), 'config', 'remote.origin.url']
    try:
        remote = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:  # no git: the sources were unpacked from an archive
        return None
    found = REMOTE.fullmatch(remote.strip())
    return f'https://{found[1]}/{found[2]}' if found else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages whose text isn't in `docs/`."""
    pages = {place: (ROOT / source).read_text() for place, source in readmes().items()}
    pages |= {f'api/{name}.md': f'# {name}\n\n::: {name}\n' for name in packages()}
    pages['api/vitadapter_dense.md'] = overview()
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def overview() -> str:
    """The page of the whole package: its names, each described on the page of its own package."""
    lines, apart = ['# vitadapter_dense', '', '::: vitadapter_dense', OWN_TEXT_ALONE, ''], []
    for node in ast.parse((ROOT / 'vitadapter_dense' / '__init__.py').read_text()).body:
        if not isinstance(node, ast.ImportFrom) or not node.module.startswith('vitadapter_dense.'):
            continue
        names = [f'{node.module}.{alias.name}' for alias in node.names]
        if node.module in packages():
            links = ', '.join(f'[`{name.rpartition(".")[2]}`][{name}]' for name in names)
            lines.append(f'- [{node.module}]({node.module}.md): {links}')
        else:
            apart += [f'::: {name}\n{WITH_HEADING}\n' for name in names]
    return '\n'.join([*lines, '', *apart])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a page, which are right in the repository, into those of the site."""
    place = page.file.src_uri
    if place.startswith('api/'):
        return markdown
    source = readmes().get(place, f'docs/{place}')

    def turned(match: re.Match[str]) -> str:
        backticks, text, target = match.groups()
        if backticks or '://' in target or target.startswith(('#', 'mailto:')):
            return match[0]
        found = link(target, source=source, place=place, repository=config.repo_url)
        return f'[{text}]({found})' if found else text

    return LINKS.sub(turned, markdown)


def link(target: str, *, source: str, place: str, repository: str | None) -> str | None:
    """A link of a file of the repository, as it must stand in a page of the site.

    Args:
        target: the link, relative to the file, maybe with an anchor.
        source: the file in the repository.
        place: the page in the site.
        repository: its address.

    Returns:
        The new target; ``None`` where it lies in the repository, whose address is not known.
    """
    path, mark, anchor = target.partition('#')
    file = os.path.normpath(os.path.join(os.path.dirname(source), path))
    if not (ROOT / file).exists():
        log.warning(f'{source} links to {target}, but there is no {file}')
        return None
    pages = {origin: page for page, origin in readmes().items()}
    if file in pages or file.startswith('docs/'):
        inside = pages.get(file, file.removeprefix('docs/'))
        return os.path.relpath(inside, os.path.dirname(place) or '.') + mark + anchor
    kind = 'tree' if (ROOT / file).is_dir() else 'blob'
    return f'{repository}/{kind}/HEAD/{file}{mark}{anchor}' if repository else None
