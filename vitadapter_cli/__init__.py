"""The command line before the slow imports, so that `--help` and slips take a moment, not seconds.

A package of its own, because importing any part of `vitadapter_dense` imports torch and the
toolboxes and registers their classes. What is here needs the standard library and MMEngine's
reader of configurations.
"""

from __future__ import annotations

from vitadapter_cli.interrupts import set_hook

set_hook()  # before MMEngine is imported, which takes a moment

from vitadapter_cli.config_files import config_path, default_work_dir, own_configs
from vitadapter_cli.model_names import find_model, list_models, released_checkpoint
from vitadapter_cli.options import load_config
from vitadapter_cli.parsers import (
    LAUNCHERS,
    OptionAction,
    above_zero,
    add_checkpoint_argument,
    add_device_argument,
    add_launcher_argument,
    add_training_arguments,
    config_parser,
    image_size,
    not_negative,
    positive,
    share,
)
from vitadapter_cli.slips import parse, refuse_slips

__all__ = [
    'LAUNCHERS',
    'OptionAction',
    'above_zero',
    'add_checkpoint_argument',
    'add_device_argument',
    'add_launcher_argument',
    'add_training_arguments',
    'config_parser',
    'config_path',
    'default_work_dir',
    'find_model',
    'image_size',
    'list_models',
    'load_config',
    'not_negative',
    'own_configs',
    'parse',
    'positive',
    'refuse_slips',
    'released_checkpoint',
    'share',
]
