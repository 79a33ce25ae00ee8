"""Two gloo processes on the CPU: gradients, training, saving, evaluation, resume."""

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
from torch import nn

from vitadapter_dense.training.distributed import join_cpu_processes

HERE = Path(__file__).parent


def launch(script: Path, folder: Path, *, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a script with a folder as its argument in two processes."""
    paths = (HERE.parents[1], HERE.parents[1] / 'ops', HERE)
    return subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone'),
            *('--nproc_per_node=2', f'--max-restarts={restarts}', str(script), str(folder)),
        ],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, paths)), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU the launchers use it')
def test_two_processes_train_and_resume(tmp_path):
    run = launch(HERE / 'distributed_run.py', tmp_path)
    assert run.returncode == 0, run.stderr[-4000:]
    ranks = [json.loads((tmp_path / f'rank_{rank}.json').read_text()) for rank in range(2)]
    for result in ranks:
        assert result['backend'] == 'gloo'
        assert result['gradient_size'] > 1e-2
        assert result['gradient_error'] < 1e-5 * result['gradient_size']
        assert len(result['losses']) == 6
        later = {i: loss for i, loss in result['losses'].items() if int(i) >= 4}
        assert result['resumed_losses'] == later
        assert result['weights_equal']
        assert result['begun_error'] < 1e-5  # a step is 1e-2
        assert result['batches'][0] == 3
    predictions = pickle.loads((tmp_path / 'predictions.pkl').read_bytes())
    assert predictions == [dict(index=0), dict(index=1), dict(index=2)]
    assert not list(tmp_path.glob('.predictions*'))
    assert [result['batches'][1] for result in ranks] == [3, 4]
    # A loss that breaks in one process ends all of them, at the same step and with the same words.
    assert sorted(ranks[0]['stopped']) == ['0', 'error']
    assert ranks[0]['stopped']['error'] == ranks[1]['stopped']['error']
    assert 'Iteration 2 has loss = inf.' in ranks[0]['stopped']['error']
    # Each process has its own samples and its own dropout, and both end with the same weights.
    assert ranks[0]['losses'] != ranks[1]['losses']
    assert ranks[0]['weights_sum'] == pytest.approx(ranks[1]['weights_sum'])
    # Keys and generators learn from losses of their own, from pools that start alike.
    assert ranks[0]['pool_sums'] == pytest.approx(ranks[1]['pool_sums'], rel=1e-6, abs=1e-6)
    assert 'synchronised batch norm needs a GPU' in run.stdout + run.stderr


# The first process writes its checkpoint for two seconds, in which the other one is killed.
# Started again they go on, and train once more without an accident.
DYING = """
import json, os, signal, sys, time
from pathlib import Path
import torch
from tests.training.toys import LossRecorder, build_runner
from vitadapter_dense.training.distributed import times_started_again
from vitadapter_dense.training.stopping import stops_on_signals

folder, save, rank = Path(sys.argv[1]), torch.save, os.environ['RANK']
again = times_started_again('pytorch') > 0

class Dies(LossRecorder):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if rank == '1' and runner.iter == 4 and not again:
            while not (folder / 'writing').exists():
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)

def slow_save(content, file, **options):
    if hasattr(file, 'name'):  # a collective saves to memory
        (folder / 'writing').touch()
        time.sleep(2)
    save(content, file, **options)

def train(name, **options):
    recorder = Dies()
    runner = build_runner(
        folder / name, length=3, launcher='pytorch', recorder=recorder, **options
    )
    with stops_on_signals(runner):  # torchrun sends SIGTERM to who is left
        runner.train()
    return recorder.losses, runner.model.module.state_dict()

if not again:
    torch.save = slow_save
losses, weights = train('killed', resume=again)
whole_losses, whole_weights = train('whole')
same = all(torch.equal(weights[name], tensor) for name, tensor in whole_weights.items())
same = same and losses == {step: whole_losses[step] for step in losses}
(folder / rank).write_text(json.dumps([same, min(losses)]))
"""


@pytest.mark.slow  # starts two processes twice, which import everything
def test_a_killed_process_costs_no_more_than_what_came_since_the_checkpoint(tmp_path):
    (tmp_path / 'script.py').write_text(DYING)
    run = launch(tmp_path / 'script.py', tmp_path, restarts=1)
    assert run.returncode == 0, run.stderr[-4000:]
    assert re.search(r'LostProcessError: process 1 on \S+ does not answer: killed', run.stderr)
    for rank in '01':  # the write that was under way is the checkpoint from which it went on
        assert json.loads((tmp_path / rank).read_text()) == [True, 4]
    assert not list(tmp_path.glob('*/.*.partial'))


def test_slurm_variables_become_torchs(monkeypatch):
    """A launcher's own names are translated before the group is made."""
    calls = []
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **kw: calls.append(kw))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT'):
        monkeypatch.setenv(name, 'unset')
        monkeypatch.delenv(name)
    monkeypatch.setenv('SLURM_PROCID', '3')
    monkeypatch.setenv('SLURM_NTASKS', '4')
    monkeypatch.setenv('SLURM_LOCALID', '1')
    monkeypatch.setenv('MASTER_ADDR', 'localhost')
    join_cpu_processes('slurm', timeout=5)
    assert [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')] == ['3', '4', '1']
    assert calls[0]['backend'] == 'gloo'
    assert calls[0]['timeout'].total_seconds() == 5


def test_a_launcher_that_did_not_start_the_process_is_named(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(RuntimeError, match=r"launcher='pytorch' needs .*'RANK'.*dist_train"):
        join_cpu_processes('pytorch')
    with pytest.raises(ValueError, match="launcher='ssh' is unknown"):
        join_cpu_processes('ssh')


def test_synchronised_norms_become_ordinary_ones(monkeypatch):
    from vitadapter_dense.training import distributed

    class Wrapper(nn.Module):
        def __init__(self, module, **kwargs) -> None:
            super().__init__()
            self.module, self.kwargs = module, kwargs

    monkeypatch.setattr(distributed, 'MMDistributedDataParallel', Wrapper)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4))
    wrapped = distributed.wrap_for_cpu(model, sync_bn='torch', find_unused_parameters=True)
    assert wrapped.module(torch.rand(2, 3, 4, 4)).shape == (2, 4, 4, 4)
    assert wrapped.kwargs == dict(broadcast_buffers=False, find_unused_parameters=True)


# The second process alone is asked to stop, as by a machine that is taken away.
STOPPED = """
import os, signal, sys
from pathlib import Path
from mmengine.hooks import Hook
from tests.training.toys import build_runner
from vitadapter_dense.training.stopping import Stopped, stops_on_signals

class Asked(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if os.environ['RANK'] == '1' and runner.iter == 4:
            os.kill(os.getpid(), signal.SIGTERM)

folder = Path(sys.argv[1])
runner = build_runner(folder, length=3, launcher='pytorch')
runner.register_hook(Asked())
try:
    with stops_on_signals(runner):
        runner.train()
except Stopped as stopped:
    (folder / os.environ['RANK']).write_text(f'{stopped.number} {Path(stopped.checkpoint).name}')
"""


@pytest.mark.slow
def test_processes_stop_together(tmp_path):
    script = tmp_path / 'stopped.py'
    script.write_text(STOPPED)
    run = launch(script, tmp_path)
    assert run.returncode == 0, run.stderr[-4000:]
    assert [(tmp_path / rank).read_text() for rank in '01'] == ['15 stopped_at_iter_5.pth'] * 2
    assert (tmp_path / 'stopped_at_iter_5.pth').is_file()
