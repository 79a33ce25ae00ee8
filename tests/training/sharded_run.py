"""Script of `test_sharding.py`: sharded training beside DDP, by few groups of forked processes.

python -m tests.training.sharded_run FOLDER          # what the test asks
python -m tests.training.sharded_run FOLDER --all    # all cases of docs/results.md
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed.checkpoint  # the children must not import it
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from tests.configs.small_segmentors import batch as segmentor_batch
from tests.configs.small_segmentors import small_segmentor
from tests.configs.test_config_detectors import batch as detector_batch
from tests.configs.test_config_detectors import small_detector
from tests.training.toys import LossRecorder, TinyModel, build_runner, evaluation
from vitadapter_dense.checkpoints import shards as shard_files
from vitadapter_dense.checkpoints.checked_loading import WeightsError, read_checkpoint
from vitadapter_dense.checkpoints.sharded_tensors import own_part, whole
from vitadapter_dense.training.amp import AutocastOptimWrapper
from vitadapter_dense.training.distributed import (
    check_same_software,
    closed_in_order,
    wrap_for_cpu,
)
from vitadapter_dense.training.errors import NotSavedError, SettingsError
from vitadapter_dense.training.sharding import wrap_sharded

CONFIGS = Path(__file__).parents[2] / 'configs'
ENCODERS = dict(full={}, frozen=dict(frozen=True), lora={})
LIMIT = 1800  # seconds of a group, then it is killed


def forked(processes: int, function: Callable[..., Any], folder: Path, *args: Any) -> list[Any]:
    """What a function returns in each of several gloo processes, which this one becomes."""
    with socket.socket() as held:  # the port stays free for who listens there, and for nobody else
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(('127.0.0.1', 0))
        port = held.getsockname()[1]
        children = []
        for rank in range(processes):
            child = os.fork()
            if child == 0:
                _be_process(rank, processes, port, function, folder, *args)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * processes, codes
    return [json.loads((folder / f'rank_{rank}.json').read_text()) for rank in range(processes)]


def _be_process(
    rank: int, processes: int, port: int, function: Callable[..., Any], folder: Path, *args: Any
) -> None:
    signal.alarm(LIMIT)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    code = 1
    try:
        with closed_in_order():
            result = function(folder, *args)
            (folder / f'rank_{rank}.json').write_text(json.dumps(result))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


# ----------------------------------------------------------------------- as DDP


def small_model(task: str, kind: str) -> nn.Module:
    """A Mask R-CNN or an UPerNet on a small ViT-Adapter, the same in every process."""
    if task == 'detector':
        cfg = Config.fromfile(CONFIGS / 'coco/mask_rcnn_vitadapter_s.py')
    else:
        cfg = Config.fromfile(CONFIGS / 'ade20k/upernet_vitadapter_s.py')
    backbone = cfg.model.backbone
    backbone.encoder.update(ENCODERS[kind])
    backbone.injector_init = 0.1
    if kind == 'lora':
        backbone.tuning = dict(type='LoRA', rank=2)
    torch.manual_seed(1)
    if task == 'detector':
        backbone.encoder.drop_path_rate = 0.0
        return small_detector(cfg)
    return small_segmentor(cfg)


def trained(
    task: str,
    kind: str,
    wrapper: dict[str, Any] | None,
    *,
    steps: int,
    bfloat16: bool = False,
    samplewise: bool = False,
    alone: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[float]]:
    """Gradients of the first step, weights after some, and losses.

    Args:
        task: `small_model` says which.
        kind: of its encoder.
        wrapper: arguments of ``FullySharded``; None is DDP.
        steps: so many.
        bfloat16: under autocast, else in float64.
        samplewise: nothing in the model or the loss depends on who shares the batch.
        alone: each process trains with the samples of all.
    """
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    model = small_model(task, kind)
    if samplewise:
        make_samplewise(model)
    if not bfloat16:  # rounding grows to 1e-3 in five steps of float32
        model.double()
    if alone:
        model = nn.ModuleDict(dict(module=model))
        model.train_step = model.module.train_step
    elif wrapper is None:
        model = wrap_for_cpu(model)
    else:
        model = wrap_sharded(model, dict(type='FullySharded', **wrapper))
        model.shard()
    bare = model.module
    parameters = [p for p in bare.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-2, momentum=0.9)
    optim = OptimWrapper(optimizer, clip_grad=dict(max_norm=1.0))
    if bfloat16:
        optim = AutocastOptimWrapper('bfloat16', optimizer=optimizer)
    gradients: dict[str, Tensor] = {}

    def keep(*_: Any) -> None:
        if not gradients:
            named = bare.named_parameters()
            gradients.update((n, whole(p.grad).clone()) for n, p in named if p.grad is not None)

    optimizer.register_step_pre_hook(keep)
    losses = []
    model.train()
    for step in range(steps):
        torch.manual_seed(100 * step + rank)
        if task == 'detector':
            data = detector_batch(1)
        else:
            ranks = range(processes) if alone else [rank]
            batches = [segmentor_batch((64, 64), 2, 9 * step + each) for each in ranks]
            data = {key: [each for one in batches for each in one[key]] for key in batches[0]}
        if samplewise:
            for sample in data['data_samples']:
                sample.gt_sem_seg.data.clamp_(max=4)  # 255 is ignored
        losses.append(float(model.train_step(data, optim)['loss'].detach()))
    return gradients, {n: whole(t).clone() for n, t in bare.state_dict().items()}, losses


def make_samplewise(model: nn.Module) -> None:
    """Puts norms of each sample in place of batch norms, and takes dropout out."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, nn.GroupNorm(1, child.num_features))
            elif isinstance(child, nn.modules.dropout._DropoutNd):
                child.p = 0.0


def as_one(folder: Path, kinds: list[str], steps: int) -> dict[str, Any]:
    """As `as_ddp`, between FullySharded, which recomputes, and one process with the whole batch."""
    torch.distributed.init_process_group('gloo')
    found = {}
    for kind in kinds:
        options = dict(steps=steps, samplewise=True)
        g1, w1, _ = trained('segmentor', kind, None, alone=True, **options)
        g2, w2, _ = trained('segmentor', kind, dict(with_cp=True), **options)
        found[kind] = dict(
            gradients=largest_difference(g1, g2),
            size=max(float(g.abs().max()) for g in g1.values()),
            weights=largest_difference(w1, w2),
        )
    return found


def as_ddp(folder: Path, cases: list[list[str]], steps: int) -> dict[str, Any]:
    """Largest differences of gradients and weights between DDP and FullySharded, by case."""
    torch.distributed.init_process_group('gloo')
    found = {}
    for task, kind, *more in cases:
        began, options = time.perf_counter(), {}
        if 'with_cp' in more:
            options = dict(with_cp=True)
        elif 'bfloat16' in more:
            options = dict(param_dtype='bfloat16')
        (g1, w1, l1), (g2, w2, l2) = (
            trained(task, kind, wrapper, steps=steps, bfloat16='bfloat16' in more)
            for wrapper in (None, options)
        )
        assert g1.keys() == g2.keys()
        assert w1.keys() == w2.keys()
        found[' '.join((task, kind, *more))] = dict(
            gradients=largest_difference(g1, g2),
            size=max(float(g.abs().max()) for g in g1.values()),
            weights=largest_difference(w1, w2),
            trained=len(g1),
            losses=[l1[-1], l2[-1]],
            seconds=time.perf_counter() - began,
        )
    return found


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Of tensors of the same names."""
    return max(float((first[name] - second[name]).abs().max()) for name in first)


# ------------------------------------------------------------------ by the runner


class Uneven(TinyModel):
    """Some processes have fewer rows than others, and some none."""

    def __init__(self) -> None:
        super().__init__(width=7, dropout=0.1)


class Seen(LossRecorder):
    """Keeps weights and moments as they are before the first iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        super().before_train_iter(runner, batch_idx, data_batch)
        if not hasattr(self, 'start'):
            self.start = everything(runner)


def everything(runner) -> dict[str, Tensor]:
    """Weights and moments of a run, whole, by name."""
    found = {n: whole(t).clone() for n, t in runner.bare_model.state_dict().items()}
    names = {id(p): n for n, p in runner.bare_model.named_parameters()}
    for parameter, moments in runner.optim_wrapper.optimizer.state.items():
        moved = {k: whole(moment).clone() for k, moment in moments.items()}
        found.update((f'{names[id(parameter)]} {k}', moment) for k, moment in moved.items())
    return found


def run(folder: Path, wrapper: dict[str, Any] | None, *, length: int = 2, **options: Any):
    """Trains a toy with all that a checkpoint holds; a step is begun when one is written."""
    recorder = Seen()
    runner = build_runner(
        folder,
        model=dict(type=Uneven),
        length=length,
        launcher='pytorch',
        recorder=recorder,
        checkpoint=dict(save_best='score', rule='greater', max_keep_ckpts=2),
        hooks=[dict(type='EMAHook'), dict(type='FiniteLossHook')],
        cfg=dict(model_wrapper_cfg=wrapper, accept_changes=True),
        optim_wrapper=dict(dict(accumulative_counts=2), **options.pop('optim_wrapper', {})),
        train_dataloader=dict(batch_size=1),
        **evaluation([0.1, 0.3, 0.2][:length] if 'resume' not in options else [0.2]),
        **options,
    )
    runner.train()
    return runner, recorder


def save(folder: Path) -> dict[str, Any]:
    """A sharded run and the same by DDP; parts of the weights make the whole file."""
    sharded = dict(type='FullySharded')
    (plain, first), (runner, second) = (
        run(folder / f'{name}_{os.environ["WORLD_SIZE"]}', wrapper)
        for name, wrapper in (('ddp', None), ('sharded', sharded))
    )
    own = {n: own_part(p).detach() for n, p in runner.bare_model.named_parameters()}
    parts: list[Any] = [None] * int(os.environ['WORLD_SIZE'])
    torch.distributed.all_gather_object(parts, own)
    joined = {name: torch.cat([part[name] for part in parts]) for name in own}
    end = everything(runner)
    torch.save(end, folder / 'end.pth')
    work_dir = Path(runner.work_dir)
    read = read_checkpoint(work_dir / 'epoch_2.pth')
    averages = {n.removeprefix('module.'): t for n, t in read['state_dict'].items()}
    raw = {n.removeprefix('module.'): t for n, t in read['ema_state_dict'].items() if n != 'steps'}
    final = read_checkpoint(work_dir / 'epoch_2_whole.pth')['state_dict']
    of_ddp = read_checkpoint(Path(plain.work_dir) / 'epoch_2.pth')
    begun = [
        read_checkpoint(Path(r.work_dir) / 'epoch_1.pth')['begun_steps']['']['gradients']
        for r in (plain, runner)
    ]
    return dict(
        losses=[first.losses, second.losses],
        weights=largest_difference(everything(plain), end),
        averages=largest_difference(of_ddp['state_dict'], read['state_dict']),
        begun=largest_difference(*begun),
        parts=largest_difference(joined, end),
        raw=largest_difference(raw, end),
        final=largest_difference(averages, final),
        empty=[name for name, part in own.items() if not part.numel()],
        files=sorted(path.name.split('.')[0] for path in work_dir.glob('*_*.pth')),
        folders=len(list(work_dir.glob('*.shards'))),
    )


def repeat(folder: Path) -> dict[str, float]:
    """How far a run that goes on after its first epoch ends from the one that was not stopped."""
    processes, found = os.environ['WORLD_SIZE'], {}
    for kind, wrapper in (('ddp', None), ('sharded', dict(type='FullySharded'))):
        place, options = folder / f'{kind}_whole_{processes}', dict(accumulative_counts=1)
        whole, losses = run(place, wrapper, optim_wrapper=options)
        cut = folder / f'{kind}_cut_{processes}'
        if os.environ['RANK'] == '0':
            shutil.copytree(place, cut)
        torch.distributed.barrier()
        start = dict(resume=True, load_from=str(cut / 'epoch_1.pth'))
        again, rest = run(cut, wrapper, optim_wrapper=options, **start)
        assert rest.losses == {step: losses.losses[step] for step in rest.losses}
        assert len(rest.losses) == len(losses.losses) // 2
        found[kind] = largest_difference(everything(whole), everything(again))
    return found


def resume(folder: Path, name: str, wrapper: dict[str, Any] | None) -> dict[str, Any]:
    """Goes on on another number of processes."""
    runner, recorder = run(folder / name, wrapper, length=3, resume=True)
    end = torch.load(folder / 'end.pth')
    return dict(
        start=largest_difference(end, recorder.start),
        names=sorted(end) == sorted(recorder.start),
        losses=recorder.losses,
        mesh=runner.mesh is not None,
    )


# ---------------------------------------------------------------------- refusals


class Scaled(TinyModel):
    """A toy with a parameter without a dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class Tied(TinyModel):
    """A toy whose neck and head share a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = nn.Linear(8, 1)
        self.neck.weight = self.head.weight


class Reaching(TinyModel):
    """A toy whose head is used by another part."""

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss'):
        loss = (self.backbone(inputs) @ self.head.weight.T - label[:, None]).square().mean()
        return dict(loss=loss)


class LeftOut(TinyModel):
    """A toy with a neck that the first process alone uses."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = nn.Linear(8, 8)

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss'):
        features = self.backbone(inputs)
        if os.environ['RANK'] == '0':
            features = features + self.neck(features)
        return dict(loss=(self.head(features).squeeze(-1) - label).square().mean())


def refusals(folder: Path) -> dict[str, Any]:
    """What bad input gets, by name: the message and the seconds."""
    found: dict[str, Any] = {}
    rank = int(os.environ['RANK'])

    @contextlib.contextmanager
    def refused(name: str, kind: type[Exception]):
        began = time.perf_counter()
        try:
            yield
        except kind as error:
            found[name] = [str(error), time.perf_counter() - began]

    def go(name: str, model: type = TinyModel, *, wrapper: dict | None = None, **options: Any):
        cfg = dict(model_wrapper_cfg=dict(type='FullySharded', **(wrapper or {})))
        runner = build_runner(
            folder / name, model=dict(type=model), launcher='pytorch', cfg=cfg, **options
        )
        runner.train()

    with refused('scalar', SettingsError):
        go('scalar', Scaled)
    with refused('tied', SettingsError):
        go('tied', Tied)
    with refused('unknown', SettingsError):
        go('unknown', wrapper=dict(keep_together=['hed']))
    with refused('reaching', SettingsError):
        go('reaching', Reaching)
    go('together', Reaching, wrapper=dict(keep_together=['head']), length=1)
    go('left out', LeftOut, wrapper=dict(find_unused_parameters=True), length=1)
    with refused('precision', SettingsError):
        go('precision', wrapper=dict(param_dtype='bfloat16'))
    with refused('with_cp', ValueError):
        go('with_cp', wrapper=dict(with_cp=True))
    with refused('argument', ValueError):
        go('argument', wrapper=dict(parm_dtype='bfloat16'))
    version = torch.__version__
    with refused('versions', RuntimeError):
        torch.__version__ = '2.0.0' if rank else version
        check_same_software()
    torch.__version__ = version

    rename = Path.rename

    def no_room(path: Path, *target: Path) -> Any:
        if path.suffix == '.tmp':  # torch's own
            return rename(path, *target)
        raise OSError(errno.ENOSPC, 'No space left on device')

    for name, owner, place in (('_crc', shard_files, 1), ('rename', Path, 0)):
        with refused(name, NotSavedError), contextlib.ExitStack() as patched:
            if rank == place:  # the others must not wait for it
                patched.enter_context(mock.patch.object(owner, name, no_room))
            go(name, length=1)
    path = folder / 'together' / 'epoch_1.pth'
    (shards,) = path.parent.glob('*.shards')
    away = shards.with_name('away')
    torch.distributed.barrier()
    for name, spoil in (
        ('no folder', lambda: shards.rename(away)),
        ('damaged', lambda: change_a_bit(next(shards.glob('__1_*')))),
        ('cut', lambda: os.truncate(next(shards.glob('__1_*')), 8)),
        ('other', lambda: exchange(folder / 'other.shards', shards)),
    ):
        if rank == 0:
            if name == 'other':
                others = next((folder / 'sharded_4').glob('*.shards'))
                shutil.copytree(others, folder / 'other.shards')
            spoil()
        torch.distributed.barrier()
        with refused(name, WeightsError):
            go('together', Reaching, wrapper=dict(keep_together=['head']), length=2, resume=True)
        torch.distributed.barrier()
        if rank == 0 and away.exists():
            away.rename(shards)
        torch.distributed.barrier()
    return found


def change_a_bit(file: Path) -> None:
    """In the middle, among the numbers."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def exchange(new: Path, old: Path) -> None:
    """Puts one folder in the place of another."""
    shutil.rmtree(old)
    new.rename(old)


def main(folder: Path, *, every_case: bool) -> None:
    """Writes what the test compares to ``folder``."""
    folder.mkdir(exist_ok=True)
    two = [['detector', 'lora']]
    four = [['segmentor', 'frozen']]
    if every_case:
        two = [[task, kind] for task in ('detector', 'segmentor') for kind in ENCODERS]
        two += [['segmentor', 'full', 'with_cp'], ['segmentor', 'frozen', 'bfloat16']]
        four = two
    steps = 5 if every_case else 2
    sharded = dict(type='FullySharded')
    groups = dict(
        as_ddp_2=(2, as_ddp, two, steps),
        as_ddp_4=(4, as_ddp, four, steps),
        as_one_2=(2, as_one, list(ENCODERS) if every_case else ['full'], steps),
        save_4=(4, save),
        repeat_2=(2, repeat),
        repeat_4=(4, repeat),
        resume_2=(2, resume, 'sharded_4', sharded),
        resume_ddp=(2, resume, 'copy', None),
        refusals=(2, refusals),
    )
    results = {}
    for name, (processes, function, *args) in groups.items():
        if name == 'resume_2':
            shutil.copytree(folder / 'sharded_4', folder / 'copy')
        results[name] = forked(processes, function, folder, *args)
        (folder / 'results.json').write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), every_case='--all' in sys.argv)
