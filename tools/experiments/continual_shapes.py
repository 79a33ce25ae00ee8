"""Compares ways to learn shapes task by task without forgetting, on two CPU cores.

    python tools/train.py configs/continual/classifier_vit_xs_shapes_pretrain.py
    python tools/experiments/continual_shapes.py
    python tools/experiments/continual_shapes.py --methods pooled_lwf --lwf-weights 0.1 10
    python tools/experiments/continual_shapes.py --task segmentation

Classification: ten classes in five tasks, from the encoder that the first command trains.
Segmentation: scenes whose classes come in three steps, from random weights (the data is that of
`tools/dataset/make_shapes.py`). Every method is a configuration of `configs/continual/`. Every run
leaves a file in `--out`; a call that was stopped goes on where it was, within a task too.
`table.md` and `plot.png` are written after every run, with all runs that are there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_path, load_config, not_negative, parse

_CLASSIFIER = 'continual/classifier_vit_xs_shapes'
_UPERNET = 'continual/upernet_vitadapter_xs_shapes_3_1'
_QUERIES = 'continual/mask2former_vitadapter_xs_shapes_3_1'
CONFIGS = dict(
    classification=dict(
        frozen=f'{_CLASSIFIER}_frozen',
        frozen_task=f'{_CLASSIFIER}_frozen_task',
        l2p=f'{_CLASSIFIER}_l2p',
        none=_CLASSIFIER,
        joint=f'{_CLASSIFIER}_joint',
        lwf=f'{_CLASSIFIER}_lwf',
        l2p_images=f'{_CLASSIFIER}_l2p_images',
        l2p_patches=f'{_CLASSIFIER}_l2p_patches',
        cls=f'{_CLASSIFIER}_cls',
        vae=f'{_CLASSIFIER}_vae',
        pooled=f'{_CLASSIFIER}_pooled',
        pooled_lwf=f'{_CLASSIFIER}_pooled_lwf',
        lora=f'{_CLASSIFIER}_lora',
        ema=f'{_CLASSIFIER}_ema',
    ),
    segmentation=dict(
        none=_UPERNET,
        joint=f'{_UPERNET}_joint',
        lwf=f'{_UPERNET}_lwf',
        frozen=f'{_UPERNET}_frozen',
        queries=_QUERIES,
        queries_joint=f'{_QUERIES}_joint',
    ),
)
# these differ from `none` from the second step on: the first one is trained once
FIRST_STEP_OF = dict(classification={}, segmentation=dict(lwf='none', frozen='none'))
# and here another head begins on the backbone of what was trained with the same labels
BACKBONE_OF = dict(queries='none', queries_joint='joint')
COMMAND = 'continual_shapes'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Compare ways to learn shapes task by task.')
    parser.add_argument(
        '--task', default='classification', choices=tuple(CONFIGS), help='what is learnt'
    )
    names = dict.fromkeys(name for configs in CONFIGS.values() for name in configs)
    parser.add_argument(
        '--methods', nargs='+', choices=tuple(names), help='default: all of the task'
    )
    parser.add_argument('--seeds', type=not_negative, nargs='+', default=[0])
    parser.add_argument(
        '--lwf-weights',
        type=float,
        nargs='+',
        metavar='WEIGHT',
        help='run pooled_lwf once for each, instead of with the weight of its configuration',
    )
    parser.add_argument(
        '--load-from', metavar='CHECKPOINT', help='start from it (default: what the configs name)'
    )
    parser.add_argument(
        '--out', type=Path, help='where results go (default: work_dirs/continual_TASK)'
    )
    args = parse(parser, argv)
    args.out = args.out or Path('work_dirs', f'continual_{args.task}')
    own = CONFIGS[args.task]
    args.methods = args.methods or list(own)
    if other := [name for name in args.methods if name not in own]:
        parser.error(f'--methods {other[0]}: --task {args.task} has {", ".join(own)}')
    if args.lwf_weights and 'pooled_lwf' not in args.methods:
        parser.error('--lwf-weights are of the method `pooled_lwf`, which is not among --methods')
    if args.lwf_weights and min(args.lwf_weights) <= 0:
        parser.error('--lwf-weights: above 0; without LwF it is the method `pooled`')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from mmengine.config import Config

from vitadapter_dense.checkpoints.checked_loading import read_checkpoint
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import (
    ENDINGS,
    errors_as_message,
    prepare_launch,
    stop_as_status,
)
from vitadapter_dense.command_line.console import quiet_imports
from vitadapter_dense.command_line.run_files import last_checkpoint
from vitadapter_dense.command_line.task_sequence import SCORES, TaskSequence
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.json_files import json_text
from vitadapter_dense.continual.method_table import TABLE_FILES, write_methods
from vitadapter_dense.continual.scores import NAMES
from vitadapter_dense.continual.step_table import write_steps
from vitadapter_dense.reports.output_files import OutputError, check_outputs, claim_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing and writes the report."""
    args = parse_args(argv)
    quiet_imports()
    with errors_as_message(OutputError):
        claim_folder(args.out, command=COMMAND)
        check_outputs([args.out / name for name in TABLE_FILES], command=COMMAND)
    runs = [
        (name, weight, seed)
        for seed in args.seeds
        for name in args.methods
        for weight in (args.lwf_weights if name == 'pooled_lwf' else None) or [None]
    ]
    for number, (name, weight, seed) in enumerate(runs, start=1):
        run = name if weight is None else f'{name}_{weight:g}'
        path = args.out / f'{run}_seed{seed}.json'
        print(f'{run}, seed {seed} ({number} of {len(runs)})', flush=True)
        if not path.is_file():
            cfg = load_config(config_path(CONFIGS[args.task][name]))
            if weight is not None:
                cfg.model.backbone.tuning.generator.lwf_weight = weight
            cfg.work_dir = str(args.out / 'runs' / run)
            prepare_launch(cfg, 'none')
            first = Path(f'seed_{seed}', 'task_00')
            if args.load_from:
                cfg.load_from = args.load_from
            elif other := FIRST_STEP_OF[args.task].get(name):
                take_first_step(args.out / 'runs' / other / first, Path(cfg.work_dir) / first)
            elif other := BACKBONE_OF.get(name):
                cfg.load_from = str(backbone_of(args.out / 'runs' / other / first))
            with stop_as_status(tell_how_to_go_on), errors_as_message(*ENDINGS, ScheduleError):
                result = learn(cfg, seed)
            with atomic_write(path) as file:
                file.write(json_text(dict(result, method=run, seed=seed)).encode())
        write_table(args.task, args.out)
    print((args.out / TABLE_FILES[0]).read_text())
    print('Written:', *(args.out / name for name in TABLE_FILES))
    return 0


def tell_how_to_go_on() -> None:
    """Says how to continue after a stop on the way."""
    print('Stopped. The same command goes on from here.', file=sys.stderr)


def learn(cfg: Config, seed: int) -> dict[str, object]:
    """Trains a sequence, or what is missing of it: its matrix, figures and tasks."""
    began = time.process_time()
    Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    sequence = TaskSequence(cfg, [seed], verbose=False)
    sequence.begin(goes_on=True, from_task=None)
    for stage in sequence.run():
        if stage.row is not None:
            print(f'  {stage.place}:', *(f'{value:.0f}' for value in stage.row), flush=True)
    (result,) = sequence.results()
    return dict(result, processor_seconds=round(time.process_time() - began, 1))


def take_first_step(source: Path, target: Path) -> None:
    """Copies the first task of another sequence, if it is done there and not begun here."""
    if target.exists() or not (source / SCORES).is_file():
        return
    partial = target.with_name('partial')
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    partial.rename(target)


def backbone_of(task: Path) -> Path:
    """A file with the backbone alone of a task that is done, beside it."""
    checkpoint = last_checkpoint(task) if (task / SCORES).is_file() else None
    if checkpoint is None:
        raise SystemExit(f'error: {task} is not done, which gives the backbone. Mend: that method')
    weights = read_checkpoint(checkpoint)['state_dict']
    weights = {key: value for key, value in weights.items() if key.startswith('backbone.')}
    path = task.with_name('backbone.pth')
    with atomic_write(path) as file:
        torch.save(dict(state_dict=weights), file)
    return path


def write_table(task: str, out: Path) -> None:
    """The table and the plot of all runs that are there."""
    runs = read_runs(out)
    if task == 'classification':
        write_methods(runs, out, command=COMMAND)
    else:
        write_steps(runs, out, metric=NAMES[task], command=COMMAND)


def read_runs(folder: Path) -> list[dict]:
    """All runs that are done, of these and of other calls."""
    paths = [path for path in folder.glob('*.json') if re.search(r'_seed\d+$', path.stem)]
    return [json.loads(path.read_text()) for path in sorted(paths)]


if __name__ == '__main__':
    sys.exit(main())
