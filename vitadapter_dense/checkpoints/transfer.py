"""One file over http(s): whole or not at all, going on where an earlier try was stopped.

What has come lies beside the target under `.part`, with a note of the version that the server
named, so that no file is put together from two. The open part is locked: of several processes that
want a file one fetches it, and the others wait for it.
"""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mmengine.logging import print_log
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_CONNECTION_S = 8  # until there is one; without a network nobody should wait long
_TIMEOUT = 60  # seconds without a byte
_CHUNK = 2**20
_PARTIAL = '.part'


def download(address: str, path: Path, *, check: Callable[[Path], None] | None = None) -> Path:
    """Fetches a file, or the rest of it.

    Args:
        address: http(s).
        path: the target, in an existing folder. Where it is there in the end, it is whole.
        check: called with the whole file before it gets its name; raises OSError to refuse it.

    Raises:
        OSError: it cannot be had, or not whole; what came stays for the next try.
        ValueError: it is no address.
    """
    part = part_of(path)
    with _alone(part, path) as file:
        if path.is_file():  # another process was faster
            return path
        came = -1
        while not _fetch_rest(address, file, path):
            if _size(file) <= came:  # nothing more would come
                expected = _read_note(path).get('size')
                raise OSError(f'only {came} of {expected} bytes came')
            came = _size(file)
        try:
            _refuse_page(file)
            if check is not None:
                check(part)
        except OSError:
            file.truncate(0)
            raise
        os.replace(part, path)
        _note_of(path).unlink(missing_ok=True)
    return path


def part_of(path: Path) -> Path:
    """Where the part of a file lies that has come so far."""
    return path.with_name(path.name + _PARTIAL)


def _note_of(path: Path) -> Path:
    return path.with_name(f'{path.name}{_PARTIAL}.json')


def _read_note(path: Path) -> dict:
    try:
        return dict(json.loads(_note_of(path).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _size(file: BinaryIO) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


@contextmanager
def _alone(part: Path, path: Path) -> Iterator[BinaryIO]:
    """The part, opened and held by this thread alone; one that stays empty is not left behind."""
    while True:
        file = part.open('a+b')
        _lock(file, path)
        if path.is_file() or _is_at(file, part):
            break
        file.close()  # the one before removed what it had begun
    with file:
        try:
            yield file
        finally:
            if _is_at(file, part) and not _size(file):
                part.unlink()
                _note_of(path).unlink(missing_ok=True)


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print_log(f'another process downloads {path}: waiting for it', logger='current')
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        pass


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _fetch_rest(address: str, file: BinaryIO, path: Path) -> bool:
    """Asks for what lacks and writes it; whether the file is whole then."""
    done, known = _size(file), _read_note(path)
    if done and known.get('size') == done:
        return True
    headers = {'User-Agent': 'vitadapter_dense', 'Accept-Encoding': 'identity'}
    if done and known.get('version'):  # without a version nobody knows what the part is of
        headers |= {'Range': f'bytes={done}-', 'If-Range': known['version']}
    try:
        request = urllib.request.Request(address, headers=headers)
        with _open(request) as response:
            start, size = _extent(response)
            if start != done:
                if start:
                    raise OSError(f'the server sends from byte {start}, asked for {done}')
                print_log(f'{path.name}: from the beginning', logger='current')
                file.truncate(0)
            note = dict(size=size, version=_version_of(response.headers))
            _note_of(path).write_text(json.dumps(note))
            _check_space(path.parent, size, start)
            _copy(response, file, path.name, start, size)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        file.truncate(0)  # more is here than the server has
        return False
    except http.client.HTTPException as error:
        raise OSError(f'the server broke off ({error!r})') from error
    return size is None or _size(file) == size


class _Connection(http.client.HTTPConnection):
    """One that is made soon or not at all, and then waits long for what comes."""

    def connect(self) -> None:
        """Makes it."""
        self.timeout = _CONNECTION_S
        super().connect()
        self.sock.settimeout(_TIMEOUT)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """The same for https."""


class _Opener(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens addresses by these connections."""

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Opens http."""
        return self.do_open(_Connection, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Opens https."""
        return self.do_open(_SecureConnection, request)


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    """The answer to a request, through proxies and redirections as `urlopen`."""
    return urllib.request.build_opener(_Opener).open(request, timeout=_TIMEOUT)


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte of an answer, and the size of the whole file."""
    if response.status == 206:
        span = re.match(r'bytes (\d+)-\d+/(\d+)', response.headers.get('Content-Range', ''))
        if not span:
            raise OSError('the server does not say which part of the file it sends')
        return int(span[1]), int(span[2])
    length = response.headers.get('Content-Length')
    return 0, None if length is None else int(length)


def _version_of(headers: http.client.HTTPMessage) -> str | None:
    """What names this version of a file in `If-Range`: a strong tag or a date."""
    tag = headers.get('ETag')
    return tag if tag and not tag.startswith('W/') else headers.get('Last-Modified')


def _check_space(folder: Path, size: int | None, done: int) -> None:
    free = shutil.disk_usage(folder).free
    if size is not None and size - done > free:
        needed = f'{(size - done) / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB free'
        raise OSError(errno.ENOSPC, f'no space left on the disk: {needed}', str(folder))


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, name: str, done: int, size: int | None
) -> None:
    """Copies what comes, with a bar on a terminal and a line for each tenth elsewhere.

    What breaks off early ends early, where the size tells it.
    """
    large = (size or 0) > 20 * _CHUNK
    on_terminal = sys.stderr.isatty()
    told = 10 * done // size if size else 0
    with Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=not (large and on_terminal),
    ) as bar:
        task = bar.add_task(name, total=size, completed=done)
        while chunk := _read_chunk(response, end_is_known=size is not None):
            file.write(chunk)
            done += len(chunk)
            bar.update(task, completed=done)
            if large and not on_terminal and 10 * done // size > told:
                told = 10 * done // size
                megabytes = f'{done / 1e6:.0f} of {size / 1e6:.0f} MB'
                print_log(f'{name}: {megabytes}', logger='current')


def _read_chunk(response: http.client.HTTPResponse, *, end_is_known: bool) -> bytes:
    try:
        return response.read(_CHUNK)
    except OSError:
        if end_is_known:
            return b''
        raise


def _refuse_page(file: BinaryIO) -> None:
    file.flush()
    file.seek(0)
    if file.read(64).lstrip().lower().startswith((b'<!doctype', b'<html', b'<head', b'<?xml')):
        raise OSError('the answer is a web page in place of the file: of a sign-in or a proxy?')
