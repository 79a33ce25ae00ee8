"""Sharded training beside DDP, its checkpoints on other numbers of processes, what it refuses."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from torch import nn

from tests.training.toys import build_runner
from tools.convert import gather_checkpoint
from vitadapter_dense.checkpoints.checked_loading import WeightsError, read_checkpoint
from vitadapter_dense.checkpoints.sharded_tensors import SHARDS
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.hooks import AtomicCheckpointHook
from vitadapter_dense.training.shard_units import check_parts

ROOT = Path(__file__).parents[2]
REFUSED = dict(
    scalar=r'parameter scale cannot be sharded, its shape is \(\)',
    tied=r"head.weight and neck.weight .*keep_together=\['head', 'neck'\]",
    unknown=r"names 'hed', which the model lacks; its units are \['head'\]",
    reaching='uses weights of another .*keep_together',
    precision='needs autocast .*--amp bfloat16',
    with_cp='this model has none',
    argument='parm_dtype: FullySharded takes param_dtype, ',
    _crc='process 1 cannot finish its part: .*No space left',
    rename='process 0 cannot finish its part: .*No space left',
    versions=r'process 1 on \S+ has torch 2.0.0, process 0 ',
    **{
        'no folder': 'is not beside it: keep the two together',
        'damaged': "'__1_0.distcp' is not what was written",
        'cut': "'__1_0.distcp' is missing or cut",
        'other': r'is not what was written',
    },
)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU the launchers use it')
def test_shards_train_as_ddp_and_go_on_elsewhere(tmp_path):
    run = subprocess.run(
        [sys.executable, '-m', 'tests.training.sharded_run', str(tmp_path)],
        env={**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT / "ops"}', 'OMP_NUM_THREADS': '1'},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    results = json.loads((tmp_path / 'results.json').read_text())
    for processes in (2, 4):
        for found in results[f'as_ddp_{processes}']:
            for case, values in found.items():
                assert values['size'] > 1e-2, case
                assert values['gradients'] < 1e-5 * max(1, values['size']), case
                assert values['weights'] < 1e-5, case
    for found in results['as_one_2']:
        for case, values in found.items():
            assert values['size'] > 1e-2, case
            assert values['gradients'] < 1e-5 * max(1, values['size']), case
            assert values['weights'] < 1e-5, case
    for processes in (2, 4):
        for found in results[f'repeat_{processes}']:
            assert found['sharded'] == 0
            assert found['ddp'] <= (0 if processes == 2 else 1e-6)  # its first step's own order
    for found in results['save_4']:
        assert found['losses'][0] == pytest.approx(found['losses'][1], rel=1e-5)
        assert max(found[key] for key in ('weights', 'averages', 'begun')) < 1e-6
        # The parts make the model, the checkpoint holds it, and so does the plain file.
        assert [found[key] for key in ('parts', 'raw', 'final')] == [0, 0, 0]
        whole = ['best_score_epoch_2_whole', 'epoch_2_whole']
        assert found['files'] == sorted(['best_score_epoch_2', 'epoch_1', 'epoch_2', *whole])
        assert found['folders'] == 3
    assert 'head.weight' in results['save_4'][3]['empty']
    for name in ('resume_2', 'resume_ddp'):
        for found in results[name]:
            assert found['names']
            assert found['start'] == 0  # weights and moments of four are those of two
            assert found['mesh'] == (name == 'resume_2')
            assert len(found['losses']) == 5
    for found in results['refusals']:
        for name, message in REFUSED.items():
            text, seconds = found.get(name, ('not refused', 0))
            assert re.search(message, text), (name, text)
            assert seconds < 300  # a collective would wait for 1800


def test_a_table_of_contents_is_no_program(tmp_path):
    folder = tmp_path / 'epoch_1.0.shards'
    folder.mkdir()
    path = tmp_path / 'epoch_1.pth'
    torch.save({SHARDS: dict(folder=folder.name, processes=2)}, path)
    of_class = b'cpathlib\nPosixPath\n(N}Vname\nVevil\nstb.'  # sets an attribute of all paths
    for content, message in (
        (pickle.dumps(os.getcwd), 'asks for posix.getcwd'),  # any function
        (of_class, 'changes PosixPath'),
        (pickle.dumps([1]), 'it is a list'),
        (b'', 'EOFError'),
    ):
        (folder / '.metadata').write_bytes(content)
        with pytest.raises(WeightsError, match=f'is refused.*{message}'):
            read_checkpoint(path)
    assert folder.name == 'epoch_1.0.shards'
    for name in ('../elsewhere.shards', '/etc', None):
        torch.save({SHARDS: dict(folder=name)}, path)
        with pytest.raises(WeightsError, match='is no name of one'):
            read_checkpoint(path)


def test_gathering_ends_with_a_message(tmp_path):
    torch.save(dict(meta={}), tmp_path / 'a.pth')
    (tmp_path / 'mine.pth').touch()
    for out, message in (('a', 'is what is read'), ('mine', 'not written over'), ('new', 'lacks')):
        with pytest.raises(SystemExit, match=f'error: .*{message}'):
            gather_checkpoint.main([str(tmp_path / 'a.pth'), str(tmp_path / f'{out}.pth')])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.pth', 'mine.pth']


@pytest.mark.parametrize(
    ('wrapper', 'message'),
    [
        (dict(type='FulySharded'), "type='FulySharded': there is no such .*'FullySharded'"),
        (dict(type='FullySharded', parm_dtype='bfloat16'), 'parm_dtype: FullySharded takes '),
    ],
)
def test_one_process_refuses_what_several_would(tmp_path, wrapper, message):
    with pytest.raises(ValueError, match=message):
        build_runner(tmp_path, cfg=dict(model_wrapper_cfg=wrapper))


def test_a_parameter_that_is_not_contiguous():
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    with pytest.raises(SettingsError, match=r'weight cannot be sharded, .*\(27, 1, 9, 3\)'):
        check_parts(model, {})


def test_what_a_sharded_run_left_is_removed(tmp_path):
    hook = AtomicCheckpointHook(max_keep_ckpts=1)
    hook.out_dir, hook.file_backend = str(tmp_path), LocalBackend()
    folders = [tmp_path / f'epoch_{epoch}.01234567.shards' for epoch in (1, 11)]
    for folder in folders:
        folder.mkdir()
    hook._remove(str(tmp_path / 'epoch_1.pth'))  # killed after the file, before its folder
    assert [folder.exists() for folder in folders] == [False, True]
