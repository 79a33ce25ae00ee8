"""Pre-trained weights of timm models, from timm's hub, a file or a URL."""

from __future__ import annotations

import difflib
import logging
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

import timm
from huggingface_hub import constants
from mmengine.logging import print_log
from torch import Tensor, nn

from vitadapter_dense.checkpoints.checked_loading import (
    LoadReport,
    WeightsError,
    load_checked,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.encoders.efficientnet_names import in_timm_efficientnet_names
from vitadapter_dense.encoders.families import is_plain_vit
from vitadapter_dense.encoders.foreign_weights import (
    format_of,
    from_augreg,
    without_momentum,
    without_prefix,
)
from vitadapter_dense.encoders.relative_position import TABLE
from vitadapter_dense.encoders.uniperceiver_names import in_plain_vit_names

# A hub or file state dict covers everything but what the user added (layer scale); below this it is
# another architecture.
_MIN_SHARE = 0.9
_CONNECTION_S = 5.0


def check_model_name(model_name: str) -> None:
    """Raises a ``ValueError`` with the nearest names if timm does not know ``model_name``."""
    architecture = model_name.split('.', 1)[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.4)
        raise ValueError(
            f'timm has no model {model_name!r}; the nearest names are {near}. '
            f'timm.list_models() lists all of them.'
        )


def _from_hub(model_name: str, image_args: dict[str, object]) -> dict[str, Tensor]:
    print_log(f'the weights of {model_name} come from the hub', logger='current')
    tries = logging.getLogger('huggingface_hub.utils._http')  # the last one's error is told below
    level, offline = tries.level, constants.HF_HUB_OFFLINE
    unreachable = '' if offline else _why_unreachable()
    try:
        tries.setLevel(logging.ERROR)
        constants.HF_HUB_OFFLINE = offline or bool(unreachable)
        source = timm.create_model(model_name, pretrained=True, num_classes=0, **image_args)
    except (OSError, RuntimeError, ValueError) as error:
        reason = unreachable or str(error).partition('\n')[0] or type(error).__name__
        raise WeightsError(
            f'cannot get the weights of {model_name!r} from the hub ({reason}). Either connect to '
            f'the network; or fetch the file elsewhere and set pretrained="path/to/file"; or '
            f'train from random weights with pretrained=False.'
        ) from error
    finally:
        tries.setLevel(level)
        constants.HF_HUB_OFFLINE = offline
    return source.state_dict()


def _why_unreachable() -> str:
    """Why there is no connection to the hub; empty where there is one, or where a proxy knows.

    The hub's client would try for a minute. Told that it is offline, it looks into its cache alone.
    """
    hub = urlparse(constants.ENDPOINT)
    port = hub.port or (80 if hub.scheme == 'http' else 443)
    if hub.scheme in getproxies() and not proxy_bypass(hub.hostname):
        return ''
    try:
        socket.create_connection((hub.hostname, port), timeout=_CONNECTION_S).close()
    except OSError as error:
        return f'{constants.ENDPOINT} cannot be reached: {error}'
    return ''


def _from_file(
    model_name: str, source: str | Path, image_args: dict[str, object]
) -> dict[str, Tensor]:
    state_dict = state_dict_of(read_checkpoint(source))
    return in_timm_names(model_name, state_dict, source, image_args)


def in_timm_names(
    model_name: str,
    state_dict: Mapping[str, Tensor],
    source: str | Path,
    image_args: dict[str, object] | None = None,
) -> dict[str, Tensor]:
    """The weights of an encoder in timm's names and layouts.

    Args:
        model_name: timm's name of the encoder.
        state_dict: in its authors' names, or timm's.
        source: where it is from, for the message.
        image_args: timm arguments that change the shape of the weights.

    Raises:
        WeightsError: unknown format, a mixture of architectures, or not this encoder.
    """
    state_dict = without_momentum(state_dict)
    renamed = in_plain_vit_names(state_dict)
    if renamed.keys() != state_dict.keys():  # its positions have no row of a CLS token
        return renamed
    image_args = image_args or {}
    scratch = timm.create_model(model_name, pretrained=False, num_classes=0, **image_args)
    wanted = scratch.state_dict()
    state_dict = without_prefix(state_dict, wanted)
    state_dict = in_timm_efficientnet_names(state_dict, wanted, model_name)
    if is_plain_vit(scratch) and format_of(state_dict) == 'augreg':
        state_dict = from_augreg(state_dict)
    # timm's modules know the foreign names and layouts of their family (MAE, DINOv2, CLIP, ...)
    to_timm = getattr(sys.modules[type(scratch).__module__], 'checkpoint_filter_fn', None)
    if to_timm is None:
        return state_dict
    # BEiT's tables are resampled while they are loaded, as their authors did it
    tables = {name: state_dict.pop(name) for name in [*state_dict] if name.endswith(TABLE)}
    try:
        return dict(to_timm(state_dict, scratch)) | tables
    except (AttributeError, KeyError, RuntimeError, AssertionError) as error:
        raise WeightsError(
            f'{str(source)!r} does not look like weights of {model_name!r} '
            f'({type(error).__name__}: {error})'
        ) from error


def load_pretrained(
    module: nn.Module,
    model_name: str,
    pretrained: bool | str | Path,
    *,
    image_args: dict[str, object] | None = None,
) -> LoadReport:
    """Loads pre-trained weights into ``module``, whose parameters carry timm's names.

    Args:
        module: the encoder.
        model_name: timm's name, with a tag for particular weights
            (``vit_base_patch16_224.augreg_in21k``).
        pretrained: ``True`` for timm's hub, otherwise a file, a URL or a file of a package.
        image_args: timm arguments that change the shape of the weights (``img_size``,
            ``patch_size``); timm resamples the weights to them.

    Raises:
        WeightsError: not reachable, not readable, or of another architecture.
    """
    image_args = image_args or {}
    if pretrained is True:
        state_dict = _from_hub(model_name, image_args)
    else:
        state_dict = _from_file(model_name, pretrained, image_args)
    what = f'pre-trained {model_name}' + ('' if pretrained is True else f' from {pretrained}')
    report = load_checked(module, state_dict, min_share=_MIN_SHARE, what=what)
    print_log(f'{what}: {report}', logger='current')
    return report
