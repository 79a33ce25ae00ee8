"""Weights from addresses: one file for each address, whole, and the same as the first time."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_checkpoint

from vitadapter_dense.checkpoints import transfer
from vitadapter_dense.checkpoints.checked_loading import WeightsError, read_checkpoint
from vitadapter_dense.checkpoints.downloads import fetch, kept_at, record_of
from vitadapter_dense.checkpoints.transfer import part_of


@pytest.fixture
def web(tmp_path, monkeypatch) -> Iterator[SimpleNamespace]:
    """A server with two models under one file name.

    ``cut`` bytes are left out of each answer; ``ranges`` is whether it sends parts of files, which
    ``asked`` records with their first bytes; ``gate`` holds it back.
    """
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '*')
    state = SimpleNamespace(files={}, asked=[], cut=0, ranges=True, gate=threading.Event())
    state.gate.set()
    for value, name in enumerate('ab'):
        torch.save({'w': torch.full((2,), float(value))}, tmp_path / 'model.pth')
        state.files[f'/{name}/model.pth'] = (tmp_path / 'model.pth').read_bytes()
    state.files['/page.pth'] = b'<html>sign in</html>'

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data, start = state.files.get(self.path.partition('?')[0]), 0
            tag = f'"{hashlib.md5(data or b"").hexdigest()}"'
            if state.ranges and self.headers['Range'] and self.headers['If-Range'] == tag:
                start = int(re.fullmatch(r'bytes=(\d+)-', self.headers['Range'])[1])
            state.asked.append((self.path, start))
            if data is None:
                self.send_error(404)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
            self.send_header('Content-Length', str(len(data) - start))
            self.send_header('ETag', tag)
            self.end_headers()
            sent = data[start : max(start, len(data) - state.cut)]
            self.wfile.write(sent[:100])
            state.gate.wait(20)
            self.wfile.write(sent[100:])

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    state.address = f'http://127.0.0.1:{server.server_port}'
    yield state
    server.shutdown()
    server.server_close()


def _value(address: str) -> float:
    return float(read_checkpoint(address)['w'][0])


def test_two_addresses_of_one_file_name_are_two_files(web):
    addresses = [f'{web.address}/{name}/model.pth' for name in 'ab']
    for _ in range(2):  # the second time from the disk
        assert [_value(address) for address in addresses] == [0, 1]
    assert len(web.asked) == 2
    assert kept_at(addresses[0]).is_file()
    assert kept_at(addresses[0]) != kept_at(f'{addresses[0]}?version=2')
    assert kept_at(addresses[0]).name.endswith('_model.pth')


def test_initialisation_by_mmengine_keeps_them_apart_too(web):
    """``init_cfg=dict(type='Pretrained', checkpoint=ADDRESS)``."""
    found = []
    for name in 'ab':
        module = torch.nn.Module()
        module.w = torch.nn.Parameter(torch.full((2,), 9.0))
        load_checkpoint(module, f'{web.address}/{name}/model.pth')
        found.append(float(module.w.detach()[0]))
    assert found == [0, 1]
    assert CheckpointLoader._get_checkpoint_loader('https://a/b').__module__.startswith(
        'vitadapter'
    )


def test_an_interrupted_download_goes_on(web):
    address = f'{web.address}/a/model.pth'
    part, size = part_of(kept_at(address)), len(web.files['/a/model.pth'])
    web.cut = 100
    with pytest.raises(WeightsError, match=rf'only {size - 100} of {size} bytes.*next try goes on'):
        read_checkpoint(address)
    assert part.read_bytes() == web.files['/a/model.pth'][:-100]
    assert not kept_at(address).exists()
    web.cut = 0
    web.asked.clear()
    assert _value(address) == 0
    assert web.asked == [('/a/model.pth', size - 100)]
    assert sorted(kept_at(address).parent.iterdir()) == [
        kept_at(address),
        record_of(kept_at(address)),
    ]


@pytest.mark.parametrize('reason', ['no ranges', 'another file', 'no note', 'all is here'])
def test_what_cannot_go_on_begins_anew(reason, web):
    """No file is put together from two, and a server without ranges is not asked for ever."""
    address = f'{web.address}/a/model.pth'
    part = part_of(kept_at(address))
    web.ranges, web.cut = reason != 'no ranges', 100
    with pytest.raises(WeightsError):
        fetch(address)
    web.cut = 0
    web.asked.clear()
    if reason == 'another file':
        web.files['/a/model.pth'] = web.files['/b/model.pth']
    elif reason == 'no note':
        part.with_name(f'{part.name}.json').unlink()
    elif reason == 'all is here':  # the process ended before the file got its name
        part.write_bytes(web.files['/a/model.pth'])
    assert _value(address) == float(reason == 'another file')
    assert web.asked == ([] if reason == 'all is here' else [('/a/model.pth', 0)])


def test_two_processes_fetch_one_file_once(web):
    """One waits while the other's download is under way, in another process."""
    address = f'{web.address}/b/model.pth'
    web.gate.clear()
    other = multiprocessing.get_context('fork').Process(target=fetch, args=(address,))
    other.start()
    while not web.asked and other.is_alive():
        time.sleep(0.02)
    found = []
    here = threading.Thread(target=lambda: found.append(_value(address)))
    here.start()
    here.join(0.2)
    assert here.is_alive()
    assert web.asked == [('/b/model.pth', 0)]
    web.gate.set()
    here.join()
    other.join()
    assert other.exitcode == 0
    assert found == [1]
    assert len(web.asked) == 1


def test_a_file_that_changed_is_refused(web):
    address = f'{web.address}/a/model.pth'
    path = fetch(address)
    record = json.loads(record_of(path).read_text())
    data = web.files['/a/model.pth']
    assert record == dict(address=address, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    for other in (data[:-1], data[:-1] + b'x'):  # on the disk
        path.write_bytes(other)
        with pytest.raises(WeightsError, match=r'SHA-256.* is not .* recorded.*Delete it to fetch'):
            read_checkpoint(address)
    path.unlink()
    web.files['/a/model.pth'] = web.files['/b/model.pth']
    with pytest.raises(WeightsError, match='first download.*delete that record only where you tr'):
        read_checkpoint(address)
    assert not path.exists()
    assert not part_of(path).exists()
    record_of(path).unlink()
    assert _value(address) == 1
    with pytest.raises(WeightsError, match='is not 0123.*of its authors'):
        fetch(address, sha256='0123')


def test_a_full_disk_is_said_before(web, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda _: SimpleNamespace(free=3))
    with pytest.raises(WeightsError, match='no space left.*MB are needed.*TORCH_HOME'):
        fetch(f'{web.address}/a/model.pth')


def test_a_file_put_there_by_hand_is_taken(web, tmp_path):
    """As the message of a machine without a network says."""
    address = 'http://127.0.0.1:9/model.pth'
    with pytest.raises(WeightsError, match='put it at ') as error:
        read_checkpoint(address)
    (place,) = re.findall(r"put it at '(.*?)'", str(error.value))
    Path(place).write_bytes(web.files['/b/model.pth'])
    assert _value(address) == 1


def test_one_checkpoint_in_an_archive_is_read(web, tmp_path):
    for names in (['x/model.pth.tar', 'x/log.txt', '__MACOSX/x/._model.pth'], ['a.pth', 'b.pth']):
        with zipfile.ZipFile(tmp_path / 'packed.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                is_log = name.endswith('.txt')
                archive.writestr(name, b'log' if is_log else web.files['/b/model.pth'])
        web.files[f'/{len(names)}.zip'] = (tmp_path / 'packed.zip').read_bytes()
    assert _value(f'{web.address}/3.zip') == 1
    with pytest.raises(WeightsError, match='archive with 2 checkpoints.*unpack it'):
        read_checkpoint(f'{web.address}/2.zip')


def test_where_it_lies_is_said(web, monkeypatch):
    said = []
    monkeypatch.setattr(
        'vitadapter_dense.checkpoints.downloads.print_log', lambda text, **_: said.append(text)
    )
    address = f'{web.address}/a/model.pth'
    for _ in range(2):
        fetch(address)
    assert [str(kept_at(address)) in text for text in said] == [True, True]
    assert 'earlier download' in said[1]


def test_what_cannot_be_had_and_what_is_no_checkpoint(web):
    with pytest.raises(WeightsError, match='cannot download .*404'):
        read_checkpoint(f'{web.address}/nowhere.pth')
    with pytest.raises(WeightsError, match='web page in place of the file'):
        read_checkpoint(f'{web.address}/page.pth')
    web.files['/text.pth'] = b'sign in'
    with pytest.raises(WeightsError, match='no checkpoint.*sign in.*to fetch it again, delete the'):
        read_checkpoint(f'{web.address}/text.pth')
    with pytest.raises(WeightsError, match='cannot download'):
        read_checkpoint('http://127.0.0.1:9/model.pth')


def test_many_at_once_get_one_whole_file(web):
    address, found = f'{web.address}/b/model.pth', []
    threads = [threading.Thread(target=lambda: found.append(_value(address))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 6
    assert len(web.asked) == 1


def test_a_server_that_does_not_answer_is_given_up_soon(tmp_path, monkeypatch):
    """What comes slowly is waited for, ``_TIMEOUT``; what is not there at all, not so long."""
    monkeypatch.setattr(transfer, '_CONNECTION_S', 0.2)
    monkeypatch.setenv('no_proxy', '*')
    with socket.socket() as deaf:
        deaf.bind(('127.0.0.1', 0))
        deaf.listen(0)
        with socket.create_connection(deaf.getsockname()):  # its queue is full
            begun = time.monotonic()
            address = f'http://127.0.0.1:{deaf.getsockname()[1]}/x.pth'
            with pytest.raises(OSError, match='timed out'):
                transfer.download(address, tmp_path / 'x.pth')
    assert time.monotonic() - begun < transfer._TIMEOUT / 2
    assert not list(tmp_path.iterdir())
