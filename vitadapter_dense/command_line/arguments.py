"""What the command-line tools share once arguments are read: errors, launchers, the runner."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from vitadapter_cli import config_path, load_config
from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.command_line.check_names import check_names
from vitadapter_dense.command_line.config import (
    add_hook,
    apply_amp,
    auto_backend,
    override_data_root,
    set_work_dir,
)
from vitadapter_dense.command_line.console import quiet, quiet_imports
from vitadapter_dense.command_line.environment import TOOLBOXES, require_openmmlab
from vitadapter_dense.command_line.run_files import write_config
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.progress import ProgressBarHook
from vitadapter_dense.training.errors import LostProcessError, NotSavedError, SettingsError
from vitadapter_dense.training.finite import NotFiniteError
from vitadapter_dense.training.stopping import Stopped

#: what ends a training with a message alone
ENDINGS = (
    DatasetError,
    LostProcessError,
    NotFiniteError,
    NotSavedError,
    SettingsError,
    WeightsError,
)
RANK_VARIABLES = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def read_config(args: argparse.Namespace) -> Config:
    """Reads the configuration that the arguments of `vitadapter_cli.config_parser` describe.

    Where it names one of the project's own from another folder, `args.config` becomes its file.
    Stops with the mend when the toolbox that the configuration is written for is missing.

    Raises:
        OSError: there is no such file.
        ValueError: for slips in the configuration or the options.
    """
    if not getattr(args, 'verbose', False):
        quiet_imports()
    require_openmmlab()
    args.config = str(config_path(args.config))
    cfg = load_config(args.config, options=args.cfg_options)
    scope = cfg.get('default_scope')
    if scope in TOOLBOXES:
        require_openmmlab([scope])
    check_names(cfg, args.cfg_options or ())
    if args.data_root:
        override_data_root(cfg, args.data_root)
    return cfg


def read_training_config(args: argparse.Namespace) -> Config:
    """Reads the configuration of a training, with what `add_training_arguments` has added.

    Raises:
        OSError: as `read_config`.
        ValueError: as `read_config` and `prepare_launch`, and for a configuration that describes
            nothing to train.
    """
    cfg = read_config(args)
    if cfg.get('train_dataloader') is None:
        raise ValueError(f'{args.config} has no train_dataloader: it describes nothing to train.')
    set_work_dir(cfg, args.config, work_dir=args.work_dir)
    if args.amp:
        apply_amp(cfg, args.amp)
    if args.load_from:
        cfg.load_from = args.load_from
    prepare_launch(cfg, args.launcher)
    add_hook(cfg, dict(type=ProgressBarHook.__name__))
    return cfg


def prepare_launch(cfg: Config, launcher: str) -> None:
    """Writes the launcher and a backend that runs on this machine into the configuration.

    Raises:
        ValueError: when the launcher's environment variables are not set.
    """
    variable = RANK_VARIABLES.get(launcher)
    if variable and variable not in os.environ:
        raise ValueError(
            f'--launcher {launcher} needs the environment variable {variable}, which the launcher '
            'sets: start with tools/dist_train.sh, tools/dist_test.sh or tools/slurm_train.sh.'
        )
    cfg.launcher = launcher
    auto_backend(cfg)


def is_first_process(launcher: str) -> bool:
    """Whether this is the process that reports; known before the processes are connected."""
    return os.environ.get(RANK_VARIABLES.get(launcher, ''), '0') == '0'


def build_runner(cfg: Config, *, evaluation: bool = False, verbose: bool = False) -> Runner:
    """Builds the runner that the configuration names, MMEngine's own where it names none.

    It writes the configuration over no file of another hand.

    Args:
        cfg: the whole configuration.
        evaluation: of a model in a work directory whose configuration is that of its training.
        verbose: show on the terminal all that goes to the log file.

    Raises:
        ValueError: for a `runner_type` that is not known.
    """
    name = cfg.get('runner_type', 'Runner')
    kind = RUNNERS.get(name) if isinstance(name, str) else name
    if kind is None:
        raise ValueError(f'runner_type={name!r} is not registered: is custom_imports complete?')

    @master_only
    def dump_config(runner: Runner) -> None:
        write_config(runner.cfg, runner.work_dir, runner.log_dir, evaluation=evaluation)

    def build_logger(runner: Runner, *args: Any, **options: Any) -> MMLogger:
        logger = kind.build_logger(runner, *args, **options)
        if not verbose:
            quiet(logger)
        return logger

    members = dict(dump_config=dump_config, build_logger=build_logger)
    return type(kind.__name__, (kind,), members).from_cfg(cfg)


@contextmanager
def errors_as_message(*kinds: type[Exception]) -> Iterator[None]:
    """Ends the program with the message alone when what the user gave cannot be used.

    Args:
        *kinds: the errors that say so; default: those of reading a configuration and building what
            it describes. While a model runs, only errors of files do: any other is a fault of a
            program, and needs its traceback.
    """
    kinds = kinds or (OSError, ValueError, WeightsError)
    try:
        yield
    except kinds as error:
        raise SystemExit(f'error: {message_of(error)}') from error


@contextmanager
def stop_as_status(tell: Callable[[], None]) -> Iterator[None]:
    """Ends the program with the status of the signal by which its training was stopped.

    Args:
        tell: says how to go on.
    """
    try:
        yield
    except Stopped as stop:
        # all processes end now: the launcher that sees the first one go need not end the others
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        tell()
        raise SystemExit(128 + stop.number) from None


def message_of(error: Exception) -> str:
    """What an error says; around that of a worker process torch's loader puts its traceback."""
    text, kind = str(error), type(error).__name__
    if not text.startswith(f'Caught {kind} in DataLoader worker process'):
        return text
    return text.rpartition(f'{kind}: ')[2].strip()
