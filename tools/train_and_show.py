"""What `make train` does once the environment stands: data, training, evaluation, report, curves.

    python tools/train_and_show.py configs/shapes/mask_rcnn_vitadapter_xs.py

Runs the project's own tools one after the other, times each, and lists what they wrote. A run that
was stopped goes on from its last checkpoint; a finished one is evaluated again.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from steps import StepError, duration, say, stop

from vitadapter_cli import config_path, default_work_dir

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / 'tools'
PICTURES = 24
INTERRUPTED = 128 + signal.SIGINT
STOPPED = (INTERRUPTED, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)
LOOK_AT = ('report.html', 'pictures', 'curves.png', 'best_*.pth', '*.py')


def run_shown(command: Sequence[str | Path]) -> None:
    """Runs a command with its output on the terminal.

    Ctrl-C reaches the command too, SIGTERM is handed on to it; it ends in its own way, and is
    waited for.

    Raises:
        StepError: it failed.
        KeyboardInterrupt: it was stopped.
    """
    process: subprocess.Popen | None = None
    came: set[int] = set()

    def hand_on(number: int, frame: object) -> None:
        came.add(number)
        if number == signal.SIGTERM and process is not None:
            process.terminate()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as a shell has it of programs in its background
            signal.signal(number, hand_on)
    try:
        process = subprocess.Popen(command)
        if signal.SIGTERM in came:  # before there was a process
            process.terminate()
        process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came or process.returncode in STOPPED:
        raise KeyboardInterrupt
    if process.returncode != 0:
        raise StepError(f'the command above ended with status {process.returncode}; it says why.')


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Reads what concerns more than the training; the rest is for tools/train.py."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', type=Path, help='configuration file')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/<data set>/<config name>')
    parser.add_argument('--data-root', help='data folder, for training and evaluation')
    parser.add_argument('--cfg-options', nargs='+', help='for training and evaluation')
    return parser.parse_known_args(argv)


def shared_options(args: argparse.Namespace) -> list[str]:
    """The options that training and evaluation must agree on."""
    options = ['--work-dir', str(args.work_dir)]
    if args.data_root:
        options += ['--data-root', args.data_root]
    if args.cfg_options:
        options += ['--cfg-options', *args.cfg_options]
    return options


def train_command(args: argparse.Namespace, extra: Sequence[str]) -> list[str]:
    """The training; it goes on with what is in the work directory unless told where to start."""
    chosen = any(word.split('=')[0] in ('--resume', '--load-from') for word in extra)
    resume = ['--resume'] if holds_a_run(args.work_dir) and not chosen else []
    return ['train.py', str(args.config), *shared_options(args), *resume, *extra]


def holds_a_run(work_dir: Path) -> bool:
    """Whether there is something to go on from."""
    return any(work_dir.glob('*.pth'))


def steps(args: argparse.Namespace, extra: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Lists `(what is done, tool and arguments)` in order."""
    todo = []
    if 'shapes' in args.config.parts and not args.data_root:
        command = ['dataset/make_shapes.py', str(ROOT / 'data' / 'shapes')]
        todo.append(('the small data set (a minute or two the first time)', command))
    todo.append(('training (the quick start: 15 minutes on 2 cores)', train_command(args, extra)))
    show = ['--show-dir', str(args.work_dir / 'pictures'), '--max-pictures', str(PICTURES)]
    show.append('--report')
    command = ['test.py', str(args.config), str(args.work_dir), *shared_options(args), *show]
    todo.append(('evaluation, pictures of predictions beside ground truth, and a report', command))
    todo.append(('curves of losses and metrics', ['analysis/plot_logs.py', str(args.work_dir)]))
    return todo


def to_look_at(work_dir: Path) -> list[Path]:
    """What the run has left for people, in the order in which they want it."""
    return [path for name in LOOK_AT for path in sorted(work_dir.glob(name))]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs every step, or ends with the one that failed."""
    args, extra = parse_args(argv)
    started = time.monotonic()
    try:
        args.config = config_path(args.config)
        args.work_dir = args.work_dir or default_work_dir(args.config)
        if holds_a_run(args.work_dir):
            say(f'{args.work_dir} holds a run: going on with it (remove it to begin anew)')
        todo = steps(args, extra)
        took = []
        for number, (what, command) in enumerate(todo, start=1):
            shown = shlex.join(['python', f'tools/{command[0]}', *command[1:]])
            say(f'step {number}/{len(todo)}: {what}: {shown}')
            begun = time.monotonic()
            run_shown([sys.executable, str(TOOLS / command[0]), *command[1:]])
            took.append(duration(time.monotonic() - begun))
    except (FileNotFoundError, StepError) as error:
        stop(error)
    except KeyboardInterrupt:
        say('stopped. The same command goes on from the last checkpoint.')
        raise SystemExit(INTERRUPTED) from None
    each = ' + '.join(took)
    say(f'finished in {duration(time.monotonic() - started)} ({each}). Look at:')
    for path in to_look_at(args.work_dir):
        print(f'  {path}')
    print('Try it on images of yours:')
    print(f'  python tools/demo/image_demo.py photo.jpg {args.work_dir} --out-dir drawn')


if __name__ == '__main__':
    main()
