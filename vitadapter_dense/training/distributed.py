"""Several processes: joined and wrapped over gloo without an accelerator, and closed in order.

MMEngine's ``init_dist`` selects a GPU even for gloo, and its wrapping of the model passes device
ids; both fail on a CPU-only machine. There the processes are joined and the model is wrapped here.
"""

from __future__ import annotations

import datetime
import gc
import logging
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mmengine
import numpy
import timm
import torch.distributed
from mmengine.device import get_device
from mmengine.dist import all_gather_object, init_dist, is_distributed
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS
from torch import nn
from torch.distributed import PrefixStore, TCPStore

from vitadapter_dense.checkpoints.errors import WeightsError

# What each launcher calls the process's number, the number of processes and the number on its
# machine.
_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}
# How often each launcher has started a run again: torchrun's workers, Slurm's requeued jobs.
_COUNTS = {'pytorch': 'TORCHELASTIC_RESTART_COUNT', 'slurm': 'SLURM_RESTART_COUNT'}


def times_started_again(launcher: str) -> int:
    """How often the launcher has started this run before, with the same command line."""
    count = os.environ.get(_COUNTS.get(launcher, ''), '0')
    return int(count) if count.isdigit() else 0


def launch_of(launcher: str) -> str | None:
    """What all starts of a run by one launcher have in common; None where nothing starts again."""
    if launcher == 'slurm':
        return os.environ.get('SLURM_JOB_ID')
    if launcher != 'pytorch':
        return None
    name = os.environ.get('TORCHELASTIC_RUN_ID', 'none')
    address = f'{os.environ.get("MASTER_ADDR")}:{os.environ.get("MASTER_PORT")}'
    return address if name == 'none' else name


def store_of_restart(launcher: str) -> dict[str, Any]:
    """Arguments of ``init_process_group`` with which processes that torchrun has restarted meet.

    Its store outlives them (torch 2.14, pytorch #135712), and in it the addresses of those that are
    dead: each start has names of its own.
    """
    count = times_started_again(launcher)
    if launcher != 'pytorch' or not count or os.environ['TORCHELASTIC_USE_AGENT_STORE'] != 'True':
        return {}
    store = TCPStore(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']), is_master=False)
    places = dict(rank=int(os.environ['RANK']), world_size=int(os.environ['WORLD_SIZE']))
    return dict(store=PrefixStore(f'start_{count}', store), **places)


def join_cpu_processes(launcher: str, *, timeout: float | None = None) -> None:
    """Joins the processes of a launcher in one gloo group.

    Args:
        launcher: ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        timeout: seconds that a collective may take; torch's default if None.

    Raises:
        ValueError: unknown launcher.
        RuntimeError: the process was not started by that launcher.
    """
    if launcher not in _VARIABLES:
        raise ValueError(f'launcher={launcher!r} is unknown; choose one of {sorted(_VARIABLES)}')
    lacking = [name for name in _VARIABLES[launcher] if name not in os.environ]
    if lacking:
        raise RuntimeError(
            f'launcher={launcher!r} needs the environment variables {lacking}; start the script '
            "through that launcher (e.g. tools/dist_train.sh), or use launcher='none'"
        )
    for name, variable in zip(
        ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), _VARIABLES[launcher], strict=True
    ):
        os.environ[name] = os.environ[variable]
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        nodes = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        os.environ['MASTER_ADDR'] = subprocess.check_output(nodes, text=True).split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    options = {} if timeout is None else dict(timeout=datetime.timedelta(seconds=timeout))
    options.update(store_of_restart(launcher))
    torch.distributed.init_process_group(backend='gloo', **options)


def join_processes(launcher: str, env_cfg: Mapping[str, Any] | None) -> None:
    """Joins the processes of a launcher, over gloo without an accelerator, once.

    Args:
        launcher: as a configuration names it, ``'none'`` for a single process.
        env_cfg: of the configuration.
    """
    options = dict((env_cfg or {}).get('dist_cfg') or {})
    if launcher == 'none' or is_distributed():
        return
    if get_device() == 'cpu':
        join_cpu_processes(launcher, timeout=options.get('timeout'))
    else:
        init_dist(launcher, **options, **store_of_restart(launcher))


def raise_together(error: Exception | None) -> None:
    """Raises an error in every process if one has it; all must call this.

    Args:
        error: this process's, or None.
    """
    texts = all_gather_object(None if error is None else str(error))
    if error is not None:
        raise error
    for rank, text in enumerate(texts):
        if text is not None:
            raise WeightsError(f'process {rank} ends the run: {text}')


def check_same_software() -> None:
    """Raises RuntimeError, in every process, where processes run other versions than the first.

    Their collectives would not meet, and a checkpoint would be one of both.
    """
    own = {module.__name__: module.__version__ for module in (torch, mmengine, numpy, timm)}
    own['python'] = platform.python_version()
    gathered = all_gather_object((own, platform.node()))
    first, first_node = gathered[0]
    for rank, (versions, node) in enumerate(gathered):
        for name, version in versions.items():
            if version != first[name]:
                raise RuntimeError(
                    f'process {rank} on {node} has {name} {version}, process 0 on {first_node} has '
                    f'{first[name]}: install the same versions on all machines'
                )


def check_same_start(checkpoint: str | None) -> None:
    """Raises WeightsError, in every process, where one would start from another file.

    Args:
        checkpoint: what this process starts from; None from the beginning.
    """
    gathered = all_gather_object((checkpoint, platform.node()))
    first, first_node = gathered[0]
    for rank, (own, node) in enumerate(gathered):
        if own != first:
            raise WeightsError(
                f'process {rank} on {node} starts from {own or "the beginning"}, process 0 on '
                f'{first_node} from {first or "the beginning"}: put the work directory on a file '
                'system that all machines share, and give all the same command line'
            )


@contextmanager
def closed_in_order() -> Iterator[None]:
    """Closes the group that was joined within the block, when every process is at its end.

    A launcher kills all processes when one fails, so none may leave while another writes. The group
    goes before the interpreter does: gloo's threads hold tensors that Python counts, and one that
    lets go of them in a dying interpreter aborts the process (pytorch #179291). What was made
    within the block (model, loaders) must be out of scope at its end. After an error there is no
    waiting: the other processes may be anywhere, and closed connections end them.
    """
    yield
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        gc.collect()  # wrapped models keep the group, in circles of runner, loops and hooks
        torch.distributed.destroy_process_group()


def without_sync_bn(model: nn.Module, sync_bn: str | None) -> nn.Module:
    """The model for the CPU: synchronised batch norm, there or asked for, is ordinary one."""
    synchronised = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    if sync_bn is not None or synchronised:
        print_log(
            'synchronised batch norm needs a GPU: on the CPU every process normalises over its own '
            'samples',
            logger='current',
            level=logging.WARNING,
        )
        model = revert_sync_batchnorm(model)
    return model


def wrap_for_cpu(
    model: nn.Module,
    wrapper: dict[str, Any] | None = None,
    *,
    sync_bn: str | None = None,
    find_unused_parameters: bool = False,
) -> nn.Module:
    """Wraps a model for data-parallel training on the CPU.

    Args:
        model: the model, on the CPU.
        wrapper: config of a wrapper class; ``MMDistributedDataParallel`` if None.
        sync_bn: what the config asks for. Synchronised batch norm takes no CPU tensors: the layers
            stay, or become, ordinary batch norm. Its statistics are then those of the process's own
            part of the batch, and a checkpoint holds the first process's.
        find_unused_parameters: passed to ``MMDistributedDataParallel`` if ``wrapper`` is None.
    """
    model = without_sync_bn(model, sync_bn)
    if wrapper is None:
        return MMDistributedDataParallel(
            module=model, broadcast_buffers=False, find_unused_parameters=find_unused_parameters
        )
    return MODEL_WRAPPERS.build(
        {'type': 'MMDistributedDataParallel', **wrapper}, default_args=dict(module=model)
    )
