"""tools/experiments/scaling_laws.py: what it counts, and the table that it makes."""

from __future__ import annotations

import importlib.util
import re
import socket
from types import ModuleType

import pytest
from tiny_detection import ROOT


@pytest.fixture(scope='module')
def experiment() -> ModuleType:
    path = ROOT / 'tools' / 'experiments' / 'scaling_laws.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bytes_that_are_sent_are_counted(experiment: ModuleType) -> None:
    with (
        socket.create_server(('127.0.0.1', 0)) as server,
        socket.create_connection(server.getsockname()) as near,
        server.accept()[0] as far,
    ):
        before = experiment.sent_bytes()
        near.sendall(bytes(100_000))
        received = 0
        while received < 100_000:
            received += len(far.recv(1 << 16))
        far.sendall(b'seen')  # what acknowledges the rest
        near.recv(4)
        assert experiment.sent_bytes() - before == pytest.approx(100_004, abs=8)


def test_the_table_has_a_law_for_each_series(experiment: ModuleType) -> None:
    def cost(point: object) -> dict[str, float]:
        tokens = point.batch * (point.side / 16) ** 2
        seconds = 0.01 + 1e-3 * tokens + 1e-7 * tokens**2
        if experiment.LIMITS[point.what][1] == 1 or point.batch > 1:
            seconds = 0.01 + 1e-3 * tokens
        return dict(seconds=seconds, optimiser=0.1, peak=2e6 * tokens, flops=1e9, weights=4)

    exchanges = {
        (kind, count): dict(payload=100, sent=100 * share, seconds=1)
        for kind, count, share in experiment.EXCHANGES
    }
    points = {point: cost(point) for point in experiment.POINTS}
    table, drawn = experiment.report(points, exchanges)
    for name in experiment.LIMITS:
        rows = re.findall(rf'^\| {name} \|.*$', table, re.MULTILINE)
        assert len(rows) == 2, name
        for row in rows:
            residuals = [float(each) for each in row.split('|')[5].split(',')]
            assert max(map(abs, residuals)) < 0.1
    assert '0.01 + 0.001 N + 1e-07 N²' in table
    assert len(drawn[experiment.TIMES]) == len(experiment.LIMITS)
    assert len(re.findall(r'\| 1\.0000 \|', table)) == len(experiment.EXCHANGES)
    assert len({point.file for point in experiment.POINTS}) == len(experiment.POINTS)
