"""`tools/analysis/benchmark.py`: what it counts, in which order, and what it refuses."""

from __future__ import annotations

import csv
import multiprocessing
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tiny_detection import ROOT, load_tool, run_tool
from tiny_segmentation import CLASSES, CONFIG

from vitadapter_dense.export import turns
from vitadapter_dense.export.forms import Case, inputs_of_case, random_graph
from vitadapter_dense.export.programs import ExportError
from vitadapter_dense.export.turns import BenchmarkError, Timing, time_forms
from vitadapter_dense.reports.speeds import draw_speeds, speed_table, write_speeds

TOOL = 'analysis/benchmark.py'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('benchmark') / 'seg.py'
    text = CONFIG.format(root=ROOT, classes=CLASSES).replace('depth=4', 'depth=2')
    old = "vit_feature='per_stage'"
    assert old in text
    new = 'interaction_indexes=[[0, 1]], use_extra_extractor=False'
    path.write_text(text.replace(old, new))
    return str(path)


def test_figures_of_a_case(tmp_path):
    case = Case('c.py', size=(32, 64), batch=3)
    seconds = [0.1, 0.2, 0.3, 0.4, 1.0]
    timings = {
        'eager': Timing(tuple(seconds), 5_000_000, 0.0, 0.0),
        'onnx': Timing((0.1, 0.1, 0.1), None, 1e-5, 7.0),
    }
    eager, onnx = load_tool(TOOL).speeds_of(case, timings)
    assert eager.images_per_second == pytest.approx(3 * 5 / 2.0)
    assert eager.median_ms == pytest.approx(300)
    assert eager.p90_ms == pytest.approx(1e3 * np.percentile(seconds, 90))
    assert (eager.peak_mb, eager.deviation, eager.to_make_s) == (5.0, None, None)
    assert onnx.times_as_fast == pytest.approx(3)
    assert (onnx.peak_mb, onnx.deviation, onnx.to_make_s) == (None, 1e-5, 7.0)
    lines = speed_table([eager, onnx])
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split()[-4:] == ['3.00', '-', '1.0e-05', '7']
    for suffix, write in (('.csv', write_speeds), ('.png', draw_speeds)):
        about = dict(part='model') if suffix == '.csv' else 'a title'
        write([eager, onnx], about, tmp_path / f'speeds{suffix}', command='benchmark')
    with (tmp_path / 'speeds.csv').open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row['form'] for row in rows] == ['eager', 'onnx']
    assert float(rows[0]['p90_ms']) == eager.p90_ms
    assert rows[1]['part'] == 'model'
    assert (tmp_path / 'speeds.png').stat().st_size > 5000


def test_forms_take_turns(tmp_path, monkeypatch):
    asked = []

    @contextmanager
    def process(form, target, *arguments):
        def ask(*question):
            if not question:
                return (4.0, ('semantic', ['images'])) if target is turns._write else (0.0, 0)
            asked.append((form, *question))
            return dict(time=0.5, peak=7, compare=0.25)[question[0]]

        yield ask

    monkeypatch.setattr(turns, '_process', process)
    monkeypatch.setattr(turns, '_REST', 0.0)
    found = time_forms(Case('c.py'), ['eager', 'onnx', 'gather'], repeats=4, folder=tmp_path)
    assert found['onnx'] == Timing((0.5,) * 4, 7, 0.25, 4.0)
    assert found['eager'].made_in == 0.0
    timed = [(form, number) for form, what, number in asked if what == 'time']
    assert [form for form, number in timed if number < 2] == [
        *('eager', 'onnx', 'gather'),
        *('onnx', 'gather', 'eager'),
    ]
    assert [number for form, number in timed if form == 'gather'] == [0, 1, 2, 3]


def test_outputs_are_compared(tmp_path):
    path = tmp_path / 'outputs.npz'
    first = [np.array([1.0, -4.0]), np.array([0.1, 0.2])]
    assert turns._compared(first, path) == 0.0
    assert turns._compared([first[0] + 0.02, first[1] + 0.01], path) == pytest.approx(0.05)


def test_a_form_that_fails_is_named():
    def broken(connection):
        raise RuntimeError('no such kernel')

    ours, theirs = multiprocessing.Pipe()
    turns._guarded(theirs, broken)
    assert ours.recv() == (True, 'RuntimeError: no such kernel')


def test_graphs_are_alike_and_nothing_in_them_is_idle(config):
    case = Case(config, size=(64, 64), batch=2)
    one, other = random_graph(case), random_graph(case)
    assert all(parameter.any() for parameter in one.parameters())
    images = inputs_of_case(case, ['images'])
    assert not torch.equal(images[0][0], images[1][0])
    with torch.no_grad():
        torch.testing.assert_close(one(*images[0]), other(*images[0]), rtol=0, atol=0)


def test_a_form_that_is_missing(monkeypatch, capsys):
    tool = load_tool(TOOL)

    def check_form(form, device):
        if form == 'onnx':
            raise ExportError('no onnxruntime')

    monkeypatch.setattr(tool, 'check_form', check_form)
    assert tool.forms_here(None, 'cpu') == ['eager', 'compiled', 'aoti']
    assert 'onnx is left out: no onnxruntime' in capsys.readouterr().out
    with pytest.raises(ExportError):
        tool.forms_here(['aoti', 'onnx'], 'cpu')


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--dtype', 'float16', '--device', 'cpu'], 'needs a GPU'),
        (['--chart', 'speeds.txt'], 'must end with'),
        (['--csv', '{config}'], 'not written over'),
    ],
)
def test_slips_end_before_the_work(config, options, said):
    with pytest.raises(SystemExit, match=said):
        run_tool(TOOL, config, *(word.format(config=config) for word in options))


@pytest.mark.slow
def test_eager_beside_onnxruntime(config, tmp_path):
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='needs the extra `export`')
    out = tmp_path / 'speeds.csv'
    options = ['--forms', 'gather', '--size', '64x96', '--repeats', 3, '--device', 'cpu']
    options += ['--part', 'backbone']
    run_tool(TOOL, config, *options, '--batch', 2, '--csv', out)
    with out.open() as stream:
        eager, gather = csv.DictReader(stream)
    assert eager['images'] == '2 x 64 x 96, float32'
    assert float(gather['deviation']) < 1e-4
    weights = 4 * sum(p.numel() for p in random_graph(Case(config, part='backbone')).parameters())
    for row in (eager, gather):
        assert weights / 1e6 < float(row['peak_mb']) < 500
    with (
        pytest.raises(BenchmarkError, match=r'onnx: its process ended with status 3'),
        turns._process('onnx', _exit, 3) as ask,
    ):
        ask()


def _exit(connection, status):
    raise SystemExit(status)
