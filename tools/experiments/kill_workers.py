"""Kills workers of a run under torchrun at random moments, and compares with a run left alone.

    python tools/experiments/kill_workers.py work_dirs/kill_workers
    python tools/experiments/kill_workers.py work_dirs/sharded --sharded --kills 5 --seed 3

A narrow UperNet trains on small generated shapes in two processes, once left alone, once with
SIGKILLs that hit either process while it starts, trains, evaluates or saves. After each, all
checkpoints are read. At the end weights, moments and every logged loss must be the same. The same
command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
sys.path.append(str(ROOT / 'ops'))

from vitadapter_cli import parse, positive

PROCESSES = 2


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('out', help='folder for data, runs and results')
    parser.add_argument('--kills', type=positive, default=20, help='(20)')
    parser.add_argument('--iterations', type=positive, default=300, help='of each run (300)')
    parser.add_argument('--sharded', action='store_true', help='with FullySharded')
    parser.add_argument('--seed', type=int, help='of the moments; default: a fresh one')
    parser.add_argument('--minutes', type=positive, default=60, help='then all is ended (60)')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import matplotlib.pyplot as plt
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from yapf.yapflib import yapf_api

from tools import train
from vitadapter_dense.checkpoints import read_checkpoint
from vitadapter_dense.checkpoints.errors import WeightsError
from vitadapter_dense.reports.run_logs import scalar_files

COLOURS = dict(alone='#9a9a9a', killed='#d1495b')


class Run:
    """A training in two processes: `tools/train.py` under torchrun's agent, in forked workers.

    Args:
        args: the command line.
        folder: its work directory.
        restarts: how often the agent may start it again.
    """

    def __init__(self, args: argparse.Namespace, folder: Path, *, restarts: int) -> None:
        self.folder, self.log = folder, folder.with_suffix('.log')
        options = {
            'train_cfg.max_iters': args.iterations,
            'train_cfg.val_interval': 100,
            'train_dataloader.batch_size': 2,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': False,
            'default_hooks.checkpoint.interval': 7,
            'default_hooks.checkpoint.max_keep_ckpts': 2,
            'default_hooks.logger.interval': 1,
            'log_processor.window_size': 1,
            'model.decode_head.channels': 16,
            'model.auxiliary_head.channels': 16,
            'model.data_preprocessor.size': (64, 64),
        }
        if args.sharded:
            options['model_wrapper_cfg.type'] = 'FullySharded'
        self.arguments = [
            *('configs/shapes/upernet_vit_xs.py', '--launcher', 'pytorch', '--resume'),
            *('--work-dir', str(folder), '--data-root', str(folder.parent / 'data')),
            *('--seed', '0', '--cfg-options'),
            *(f'{key}={value}'.replace(' ', '') for key, value in options.items()),
        ]
        self.restarts = restarts
        self.ended = time.monotonic() + 60 * args.minutes
        self.places = folder.parent / f'{folder.name}_processes'

    def start(self) -> None:
        """Starts the agent in a process of its own."""
        shutil.rmtree(self.places, ignore_errors=True)
        self.places.mkdir()
        self.agent = multiprocessing.get_context('fork').Process(target=self._launch)
        self.agent.start()

    def _launch(self) -> None:
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(log, number)
        options = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=PROCESSES,
            run_id=self.folder.name,
            rdzv_backend='c10d',
            rdzv_endpoint='localhost:0',
            max_restarts=self.restarts,
            start_method='fork',
        )
        elastic_launch(options, _work)(self.arguments, self.places)

    def goes_on(self) -> bool:
        """Whether the agent is there, at most so long as was asked."""
        if time.monotonic() > self.ended:
            self.agent.terminate()
            self.agent.join()
            raise SystemExit(f'error: the time is over (--minutes); see {self.log}')
        return self.agent.is_alive()

    def workers(self) -> dict[int, tuple[int, int]]:
        """Rank: last start, and process id if it is alive."""
        found = {}
        for file in sorted(self.places.iterdir(), key=lambda file: int(file.name.split('_')[0])):
            start, rank = map(int, file.name.split('_'))
            text = file.read_text()
            if text and Path('/proc', text).exists():
                found[rank] = (start, int(text))
        return found

    def losses(self) -> list[tuple[int, float]]:
        """Iterations and losses, in the order in which they were logged."""
        lines = (line for file in scalar_files(self.folder) for line in file.open())
        records = (json.loads(line) for line in lines if line.endswith('}\n'))
        return [(record['iter'], record['loss']) for record in records if 'loss' in record]

    def read_all(self) -> Iterator[tuple[str, str | None]]:
        """Name of each checkpoint, and why it cannot be read."""
        for path in self.folder.glob('*.pth'):
            try:
                read_checkpoint(path)
                yield path.name, None
            except WeightsError as error:
                if path.is_file():  # else it was an old one's time
                    yield path.name, str(error)


def _work(arguments: list[str], places: Path) -> None:
    """What a worker does."""
    name = '_'.join(os.environ[key] for key in ('TORCHELASTIC_RESTART_COUNT', 'RANK'))
    (places / name).write_text(str(os.getpid()))
    # the layout of the written configuration takes longer than all else of a start
    yapf_api.FormatCode = lambda text, **_: (text, True)
    train.main(arguments)


def kill_at_random(run: Run, args: argparse.Namespace, kills: list[dict[str, Any]]) -> None:
    """Kills one worker a start, until that was done often enough or the run is at its end."""
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    print(f'seed {seed}', flush=True)
    draw = random.Random(seed + len(kills))
    first = len(kills)
    while run.goes_on():
        start = len(kills) - first
        if start == run.restarts:
            time.sleep(1)
            continue
        workers = run.workers()
        if len(workers) < PROCESSES or {number for number, _ in workers.values()} != {start}:
            time.sleep(0.05)
            continue
        began, before = time.monotonic(), len(run.losses())
        if draw.random() < 0.75:  # by steps, since a busy machine makes few a second
            until = before + draw.randint(1, 20)
            while run.goes_on() and len(run.losses()) < until:
                time.sleep(0.05)
            time.sleep(draw.uniform(0, 0.5))
        else:
            time.sleep(draw.uniform(0, 10))
        rank = draw.randrange(PROCESSES)
        try:
            os.kill(workers[rank][1], signal.SIGKILL)
        except ProcessLookupError:  # the run has come to its end
            continue
        kill = dict(rank=rank, seconds=round(time.monotonic() - began, 1))
        kill['iteration'] = max((step for step, _ in run.losses()), default=0)
        while run.goes_on() and any(number == start for number, _ in run.workers().values()):
            time.sleep(0.05)
        checkpoints = dict(run.read_all())
        kill['read'] = len(checkpoints)
        kill['unreadable'] = {name: why for name, why in checkpoints.items() if why}
        kills.append(kill)
        (run.folder.parent / 'kills.json').write_text(json.dumps(kills, indent=1))
        print(f'kill {len(kills)}: {kill}', flush=True)


def tensors_of(value: Any, name: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of nested containers, by place."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (dict, list, tuple)):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            yield from tensors_of(entry, f'{name}.{key}')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs both; 1 if they differ or a checkpoint could not be read."""
    args = parse_args(argv)
    out = Path(args.out).resolve()
    os.chdir(ROOT)
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    make = [sys.executable, ROOT / 'tools' / 'dataset' / 'make_shapes.py', out / 'data']
    sizes = ('--num-train', '24', '--num-val', '4', '--size', '64', '64')
    subprocess.run([str(word) for word in (*make, *sizes)], check=True, stdout=subprocess.DEVNULL)
    last, ends = f'iter_{args.iterations}.pth', {}
    kills_file = out / 'kills.json'
    kills = json.loads(kills_file.read_text()) if kills_file.is_file() else []
    runs = dict(alone=Run(args, out / 'alone', restarts=0))
    runs['killed'] = Run(args, out / 'killed', restarts=args.kills - len(kills))
    for name, run in runs.items():
        if not (run.folder / last).is_file():
            run.start()
            if name == 'killed':
                kill_at_random(run, args, kills)
            while run.goes_on():
                time.sleep(0.5)
        if not (run.folder / last).is_file():
            raise SystemExit(f'error: the run has not come to its end; see {run.log}')
        checkpoint = read_checkpoint(run.folder / last)
        ends[name] = dict(tensors_of({key: checkpoint[key] for key in ('state_dict', 'optimizer')}))
    alone, killed = ends.values()
    differ = [name for name, t in alone.items() if not torch.equal(t, killed[name])]
    curves = {name: dict(run.losses()) for name, run in runs.items()}
    steps = [step for step, loss in curves['alone'].items() if curves['killed'][step] != loss]
    unreadable = sum(len(kill['unreadable']) for kill in kills)
    read = sum(kill['read'] for kill in kills)
    logged = len(runs['killed'].losses())
    print(
        f'{len(kills)} kills, {len(set(curves["killed"]))} iterations, {logged} with those that '
        f'were lost; {read} checkpoints read after kills, {unreadable} unreadable; of '
        f'{len(alone)} tensors {len(differ)} differ, of {len(curves["alone"])} losses {len(steps)}'
    )
    plot(curves, kills, out / 'killed_workers.png')
    return int(bool(differ or steps or unreadable))


def plot(curves: dict[str, dict[int, float]], kills: list[dict[str, Any]], path: Path) -> None:
    """Draws both curves and where the kills were."""
    figure, axes = plt.subplots(figsize=(7, 2.6), dpi=110)
    for name, width in (('alone', 3.0), ('killed', 0.8)):
        curve = curves[name]
        axes.plot(list(curve), list(curve.values()), lw=width, color=COLOURS[name], label=name)
    for kill in kills:
        axes.axvline(kill['iteration'], ymax=0.06, color='black', lw=1)
    axes.set(xlabel='iteration (marks: a worker is killed)', ylabel='loss')
    axes.legend(frameon=False)
    axes.spines[['top', 'right']].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == '__main__':
    sys.exit(main())
