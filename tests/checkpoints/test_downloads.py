"""Weights from addresses: one file for each address, whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_checkpoint

from vitadapter_dense.checkpoints.checked_loading import WeightsError, read_checkpoint
from vitadapter_dense.checkpoints.downloads import fetch, kept_at


@pytest.fixture
def web(tmp_path, monkeypatch) -> Iterator[SimpleNamespace]:
    """A server with two models under one file name; ``cut`` bytes are left out of each answer."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    state = SimpleNamespace(files={}, asked=[], cut=0)
    for value, name in enumerate('ab'):
        torch.save({'w': torch.full((2,), float(value))}, tmp_path / 'model.pth')
        state.files[f'/{name}/model.pth'] = (tmp_path / 'model.pth').read_bytes()
    state.files['/page.pth'] = b'<html>sign in</html>'

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            data = state.files.get(self.path.partition('?')[0])
            self.send_response(200 if data else 404)
            self.send_header('Content-Length', str(len(data or b'')))
            self.end_headers()
            self.wfile.write((data or b'')[: len(data or b'') - state.cut])

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
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


def test_half_a_download_is_none(web):
    address = f'{web.address}/a/model.pth'
    web.cut = 100
    with pytest.raises(WeightsError, match=r'cannot download .*only \d+ of \d+ bytes came'):
        read_checkpoint(address)
    assert list(kept_at(address).parent.iterdir()) == []
    web.cut = 0
    assert _value(address) == 0


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
    with pytest.raises(WeightsError, match='no checkpoint.*sign in.*delete the file to fetch it'):
        read_checkpoint(f'{web.address}/page.pth')
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
    assert [path.name for path in kept_at(address).parent.iterdir()] == [kept_at(address).name]
