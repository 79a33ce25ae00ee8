"""What a run is, for its report: configuration, model, data, versions."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from vitadapter_dense.reports.run_logs import Curves
from vitadapter_dense.reports.summary import device_name, model_kinds, parameter_counts

PACKAGES = ('vitadapter_dense', 'torch', 'timm', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')


def run_facts(
    cfg: Config, *, runner: Runner | None = None, curves: Curves | None = None
) -> dict[str, str]:
    """What a run is, by the names under which it is shown.

    Args:
        cfg: its configuration.
        runner: of a test that has run.
        curves: what its training logged.
    """
    facts = dict(configuration=str(cfg.filename or 'none'))
    if cfg.get('load_from'):
        facts['checkpoint'] = str(cfg.load_from)
    if runner is not None:
        model = getattr(runner.model, 'module', runner.model)
        facts['model'] = f'{", ".join(model_kinds(model))}: {parameter_counts(model)}'
    elif cfg.get('model'):
        facts['model'] = ', '.join(_kinds_of(cfg.model))
    for name in ('train', 'test'):
        loader = cfg.get(f'{name}_dataloader')
        if loader:
            facts[f'{name} data'] = '; '.join(_described(loader.get('dataset', {})))
    if runner is not None:
        number = len(runner.test_dataloader.dataset)
        facts['test data'] += f' ({number} image{"s" if number != 1 else ""})'
    if curves is not None and curves.train:
        facts['trained'] = f'{max(curves.train)} iterations were logged'
    if runner is not None:
        facts['tested on'] = device_name(runner.model)
    loaded = {name: sys.modules.get(name) for name in PACKAGES}
    versions = [f'{name} {m.__version__}' for name, m in loaded.items() if m is not None]
    facts['versions'] = ', '.join([*versions, f'Python {platform.python_version()}'])
    facts['command'] = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    facts['made'] = datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z')
    return facts


def _kinds_of(model: Mapping[str, Any]) -> Iterator[str]:
    backbone = model.get('backbone') or {}
    for part in (model, backbone, backbone.get('encoder') or {}):
        if part.get('type'):
            yield str(part['type'])


def _described(dataset: Mapping[str, Any]) -> Iterator[str]:
    """One text for each data set; what wraps others is looked through."""
    inner = dataset.get('datasets') or dataset.get('dataset')
    if inner:
        for part in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from _described(part)
        return
    prefixes = dataset.get('data_prefix') or {}
    prefixes = prefixes.values() if isinstance(prefixes, Mapping) else [prefixes]  # MMPretrain's
    places = [dataset.get('ann_file'), *prefixes]
    where = ', '.join(str(place) for place in places if place)
    root = f' in {dataset["data_root"]}' if dataset.get('data_root') else ''
    yield f'{dataset.get("type")}: {where or "all"}{root}'
