"""Models by name: `coco/mask_rcnn_vitadapter_s`, or shorter where that is the only one."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from pathlib import Path

from vitadapter_cli.near_paths import near_paths
from vitadapter_cli.released_models import MODELS_OF_THE_ORIGINAL, ReleasedModel


def list_models(pattern: str = '*') -> list[str]:
    """The names of the released models.

    Args:
        pattern: of a name, `ade20k/*` or `*mask2former*`.
    """
    return [model.name for model in MODELS_OF_THE_ORIGINAL if fnmatchcase(model.name, pattern)]


def find_model(name: str) -> ReleasedModel:
    """The model of a name; the data set may be left out where one alone has such a model.

    Raises:
        LookupError: there is none of that name, with the nearest; or several.
    """
    found = [model for model in MODELS_OF_THE_ORIGINAL if name in (model.name, model.short_name)]
    if len(found) == 1:
        return found[0]
    if found:
        choices = ', '.join(model.name for model in found)
        raise LookupError(f'{name!r} names {len(found)} released models: say which, {choices}')
    names = {model.short_name: model.name for model in MODELS_OF_THE_ORIGINAL}
    names |= {each: each for each in list_models()}
    near = dict.fromkeys(names[each] for each in difflib.get_close_matches(name, names, n=6))
    hint = f'did you mean {", ".join([*near][:3])}?' if near else 'list_models() lists them'
    raise LookupError(f'no released model is called {name!r}; {hint}')


def released_checkpoint(name: str) -> ReleasedModel:
    """The model whose checkpoint is named, where neither a file nor a folder is.

    Raises:
        FileNotFoundError: `find_model` finds none or several; with what lies near, for a path.
    """
    try:
        return find_model(name)
    except LookupError as error:
        near = near_paths(name)
        if near:
            hint = f'. Did you mean {" or ".join(near)}?'
        else:
            hint = f', and {error.args[0]}' if _may_be_a_model(name) else '.'
        raise FileNotFoundError(
            f'There is no checkpoint file and no work directory at {name}{hint}'
        ) from error


def _may_be_a_model(name: str) -> bool:
    """Whether a name has the form of a released model's, `coco/...` or a bare one; else a path."""
    *folders, last = Path(name).parts or ('',)
    datasets = {model.dataset for model in MODELS_OF_THE_ORIGINAL}
    return not Path(last).suffix and (not folders or (len(folders) == 1 and folders[0] in datasets))
