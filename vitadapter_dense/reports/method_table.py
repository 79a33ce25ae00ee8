"""A table of tuning methods: what each trains on each of some models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import nn

from vitadapter_dense.tuning.delta import frozen_names, tuned_backbones

_IMPOSSIBLE = ('inside transformer blocks', "location='pad' puts a border")


def method_table(
    build: Callable[[str, str], nn.Module],
    methods: Iterable[str],
    models: Iterable[str],
    *,
    published: Mapping[tuple[str, str], str],
) -> str:
    """The table as Markdown: trainable millions, their share, megabytes of a delta.

    Args:
        build: gives the model of that name, tuned by the method of that name. A ``ValueError``
            that tells what the method is for says that it cannot work on the model.
        methods: a row each.
        models: a column each.
        published: what others have published, by method and model.
    """
    models = list(models)
    lines = [f'| method | mergeable | {" | ".join(models)} |', '|---' * (2 + len(models)) + '|']
    for method in methods:
        cells, mergeable = [], ''
        for name in models:
            try:
                model = build(name, method)
            except ValueError as error:
                if not any(reason in str(error) for reason in _IMPOSSIBLE):
                    raise
                cells.append('-')
                continue
            ((_, backbone),) = tuned_backbones(model)
            mergeable = 'yes' if backbone.tuning.mergeable else 'no'
            known = published.get((method, name))
            cells.append(_cell(model) + (f'; pub. {known}' if known else ''))
        lines.append(f'| {method} | {mergeable} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def trainable_millions(model: nn.Module) -> float:
    """How many parameters train, in millions."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6


def _cell(model: nn.Module) -> str:
    state = model.state_dict()
    left = state.keys() - set(frozen_names(model))
    size = sum(state[name].numel() * state[name].element_size() for name in left) / 1e6
    trainable = trainable_millions(model)
    share = 1e6 * trainable / sum(p.numel() for p in model.parameters())
    return f'{trainable:.2f} ({share:.1%}), {size:.1f}'
