"""What a resume does with each setting of a config that is another one than the checkpoint's.

``ROWS`` is the whole of it; `docs/resume.md` shows it as a table, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Literal

from vitadapter_dense.training.config_text import flat, read_config_text

Effect = Literal['taken over', 'stops', 'no effect']


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        what: the settings in words.
        keys: patterns of dotted keys; ``*`` stands for anything, dots too.
        effect: ``'taken over'``: the new value holds from the resumed step on, as if set so from
            the start. ``'stops'``: the run ends with both values, unless changes are accepted.
            ``'no effect'``: on the result.
        note: for the reader of the table.
        default: the value of a key that is not set.
    """

    what: str
    keys: tuple[str, ...]
    effect: Effect
    note: str = ''
    default: Any = None


_START = Row(
    'where pre-trained weights are',
    ('model.*pretrained', 'model.*init_cfg*', 'load_from'),
    'no effect',
    "all weights are the checkpoint's",
)

# The first row with a pattern that fits a key is the key's.
ROWS = (
    Row('length of the run', ('train_cfg.max_*',), 'taken over', 'past its end: an error'),
    Row('by epochs or by iterations', ('train_cfg.type', 'train_cfg.by_epoch'), 'stops'),
    Row('when to evaluate', ('train_cfg.*val_*', 'train_cfg.dynamic_intervals*'), 'taken over'),
    Row(
        'skipping what was trained',
        ('train_cfg.fast_forward_on_resume',),
        'taken over',
        'true: the data start over',
    ),
    Row(
        'type of the optimiser',
        ('optim_wrapper*.optimizer.type',),
        'stops',
        'accepted: it starts without moments',
    ),
    Row(
        'accumulated batches',
        ('optim_wrapper*.accumulative_counts',),
        'stops',
        'they count as batch size; accepted: a step that was begun starts anew',
        default=1,
    ),
    Row(
        'learning rate, weight decay, momentum, betas and all other options of the optimiser',
        ('optim_wrapper*.optimizer.*',),
        'taken over',
        "moments and step counts are the checkpoint's",
    ),
    Row(
        'rates of layers and of parameters, clipping, precision',
        ('optim_wrapper.*',),
        'taken over',
        "moments follow the parameters by name; the dynamic loss scale is the checkpoint's",
    ),
    Row(
        'schedules of rate and momentum',
        ('param_scheduler.*',),
        'taken over',
        'the rate is the one that a new run of this config has at that step; '
        '`ReduceOnPlateau*` has none and stops',
    ),
    Row('scaling of the rate with the batch', ('auto_scale_lr.*',), 'taken over'),
    Row('the seed', ('randomness.seed', 'randomness.diff_rank_seed'), 'stops'),
    Row(
        'how the model computes, not what',
        (
            'model.*with_cp',
            'compile*',
            'activation_checkpointing*',
            'efficient_conv_bn_eval*',
            'randomness.deterministic',
            'model_wrapper_cfg*',
            'find_unused_parameters',
            'env_cfg.*',
            'launcher',
            'custom_imports.*',
            'runner_type',
            'default_scope',
        ),
        'no effect',
    ),
    _START,
    Row('how the model predicts', ('model.test_cfg*', 'tta_model.*'), 'taken over'),
    Row('the rest of the model', ('model', 'model.*', 'data_preprocessor.*', 'sync_bn'), 'stops'),
    Row(
        'images a step',
        ('train_dataloader.batch_size', 'number of processes'),
        'stops',
        'they are those of one process, times the processes',
    ),
    Row(
        'workers',
        (
            'train_dataloader.num_workers',
            'train_dataloader.persistent_workers',
            'train_dataloader.prefetch_factor',
            'train_dataloader.pin_memory*',
            'train_dataloader.timeout',
            'train_dataloader.multiprocessing_context',
            'train_dataloader.worker_init_fn*',
        ),
        'no effect',
    ),
    Row(
        'how data are kept and fetched',
        (
            '*_dataloader.*data_root',
            'train_dataloader.*backend_args*',
            'train_dataloader.*serialize_data',
            'train_dataloader.*lazy_init',
            'train_dataloader.*max_refetch',
        ),
        'no effect',
        'a folder that was moved is the same data',
    ),
    Row(
        'the rest of the training data: files, pipeline, sampling',
        ('train_dataloader.*', 'batches an epoch'),
        'stops',
        'files are compared by their names below the data folder, and by how many batches they '
        'make',
    ),
    Row(
        'evaluation: data and metrics',
        ('val_*', 'test_*', 'tta_pipeline.*'),
        'taken over',
        'the best score so far stays',
    ),
    Row(
        'an average of the weights, and other hooks of your own',
        ('custom_hooks.*',),
        'taken over',
        'without `EMAHook` the run goes on from the weights that were averaged',
    ),
    Row(
        'logging, pictures, checkpoints, folders',
        (
            'default_hooks.*',
            'log_processor.*',
            'log_level',
            'vis*',
            'work_dir',
            'resume',
            'accept_changes',
            'experiment_name',
        ),
        'no effect',
    ),
    Row(
        'variables of the config files',
        (
            'backbone*',
            'class_weight*',
            'crop_size*',
            'data_root',
            'dataset_type',
            'encoder*',
            'max_iters',
            'meta_keys*',
            'metainfo*',
            'norm_cfg*',
            'num_classes',
            'preset*',
            'train_pipeline*',
            'tuning*',
            'width',
        ),
        'no effect',
        'what they are copied into counts',
    ),
)

_DATA = ('train_dataloader.', 'val_', 'test_')


@dataclass(frozen=True)
class Change:
    """A setting with its value in the checkpoint and its value now; None where it is not set."""

    key: str
    before: Any
    now: Any

    @property
    def effect(self) -> Effect:
        """What a resume does; a setting in no row is one of the user's own, and taken over."""
        row = row_of(self.key)
        return 'taken over' if row is None else row.effect

    def __str__(self) -> str:
        before, now = (
            'not set' if value is None else repr(value) for value in (self.before, self.now)
        )
        return f'{self.key}: {before} in the checkpoint, {now} now'


def row_of(key: str) -> Row | None:
    """The row of a dotted key."""
    return next((row for row in ROWS if any(fnmatchcase(key, p) for p in row.keys)), None)


def changes(before: str, now: str) -> list[Change]:
    """What differs between two configs, but for what has no effect on the result.

    Args:
        before: text of the checkpoint's config.
        now: text of this run's config.

    Raises:
        ValueError: a text is no config.
    """
    return [change for change in _differences(before, now) if change.effect != 'no effect']


def changes_of_start(before: str, now: str) -> list[Change]:
    """What differs between two configs in the weights that a new run starts from.

    Args:
        before: text of one config.
        now: text of the other.

    Raises:
        ValueError: a text is no config.
    """
    return [change for change in _differences(before, now) if row_of(change.key) is _START]


def _differences(before: str, now: str) -> Iterator[Change]:
    old, new = (_comparable(read_config_text(text)) for text in (before, now))
    for key in sorted(old.keys() | new.keys()):
        row = row_of(key)
        default = None if row is None else row.default
        change = Change(key, old.get(key, default), new.get(key, default))
        if change.before != change.now:
            yield change


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flat settings, with files of data named from their data folder on."""
    found = flat(settings)
    roots = {str(value) for key, value in found.items() if key.endswith('data_root')}
    for key, value in found.items():
        if key.startswith(_DATA) and isinstance(value, str):
            found[key] = _below(value, sorted(roots, key=len, reverse=True))
    return found


def _below(value: str, roots: Iterable[str]) -> str:
    """A path from its data folder on; of an absolute one elsewhere the last part. Else as it is."""
    path = PurePosixPath(value)
    for root in roots:
        if root and path.is_relative_to(root):
            return str(path.relative_to(root))
    return path.name if path.is_absolute() else value.rstrip('/')


def listed(found: Iterable[Change], *, most: int = 12) -> str:
    """The changes, one a line."""
    lines = [f'  {change}' for change in found]
    if len(lines) > most:
        lines[most:] = [f'  and {len(lines) - most} more']
    return '\n'.join(lines)


def table() -> Iterator[str]:
    """The lines of the table in the docs."""
    yield '| setting | keys | a resume with another value | |'
    yield '|---|---|---|---|'
    for row in ROWS:
        keys = ', '.join(f'`{key}`' for key in row.keys)
        yield f'| {row.what} | {keys} | {row.effect} | {row.note} |'
