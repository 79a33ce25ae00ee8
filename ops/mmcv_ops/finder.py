"""What answers when ``mmcv._ext`` is imported; it must not import torch.

A finder on ``sys.meta_path`` looks at two names and leaves all others alone:

- ``mmcv._ext``: the compiled module where there is one, else :mod:`mmcv_ops.operators`. A compiled
  one that cannot be loaded is an error, never a silent fall-back.
- ``mmcv.ops.multi_scale_deform_attn``: mmcv's own module, whose sampling functions are replaced
  after it has run.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing typing for it would take longer than all the rest
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

EXTENSION = 'mmcv._ext'
ATTENTION = 'mmcv.ops.multi_scale_deform_attn'
# what the environment is set up anew with, mmcv's own operators compiled
COMPILE = 'make env MMCV_OPS=compiled'
FOLLOWS = '2.3'  # the mmcv whose operators' signatures are known here


class _Operators:
    """Loads the operators of this package as ``mmcv._ext``."""

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Fills the module."""
        from mmcv_ops import operators

        operators.fill(module)


class _Wrapped:
    """A loader that does what another one does, and something more."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader does."""
        return self._loader.create_module(spec)


class _Compiled(_Wrapped):
    """Loads a compiled ``mmcv._ext``, or names the mend.

    One that was built for another torch may not load, or load and fail in every operator; so one
    operator is tried.
    """

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Raises an ``ImportError`` with the mend if the library does not load."""
        try:
            import torch  # noqa: F401  (its libraries are what the module is linked against)

            return super().create_module(spec)
        except ImportError as error:
            raise _unfit(spec, error) from error

    def exec_module(self, module: ModuleType) -> None:
        """Raises an ``ImportError`` with the mend if the library does not work."""
        self._loader.exec_module(module)
        import torch

        boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.9], [20.0, 20.0, 29.0, 29.0]])
        try:
            kept = module.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.5, offset=0)
        except Exception as error:
            raise _unfit(module.__spec__, error) from error
        if kept.tolist() != [0, 2]:
            raise _unfit(module.__spec__, f'nms kept {kept.tolist()} of boxes of which [0, 2] stay')


def _unfit(spec: ModuleSpec, error: Exception | str) -> ImportError:
    first_line = str(error).partition('\n')[0]
    return ImportError(
        f"mmcv's compiled operators do not work ({first_line}): {spec.origin} was built for "
        f'another torch or another Python. Mend: install an onedl-mmcv without compiled operators '
        f'(pip install --force-reinstall --no-deps --no-cache-dir onedl-mmcv~={FOLLOWS}.0), or '
        f'compile it for this torch ({COMPILE})',
        name=spec.name,
        path=spec.origin,
    )


class _WithMsda(_Wrapped):
    """Loads mmcv's attention, and replaces its sampling."""

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module, then replaces."""
        self._loader.exec_module(module)
        from mmcv_ops import attention

        attention.replace_sampling(module)


class _Finder:
    """See the module's text."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of one of the two modules; ``None`` for every other name."""
        if name not in (EXTENSION, ATTENTION):
            return None
        spec = _spec_of_others(name, path, target)
        if name == EXTENSION:
            if spec is None:
                return type(__spec__)(name, _Operators(), origin='mmcv_ops')
            spec.loader = _Compiled(spec.loader)
        elif spec is not None:
            spec.loader = _WithMsda(spec.loader)
        return spec


def _spec_of_others(
    name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if not isinstance(finder, _Finder) and hasattr(finder, 'find_spec'):
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


def is_compiled() -> bool:
    """Whether mmcv has compiled operators of its own, which then serve instead of these.

    Raises:
        ImportError: no mmcv, or compiled operators that do not load.
    """
    from importlib import import_module

    return not isinstance(import_module(EXTENSION).__spec__.loader, _Operators)


def install() -> None:
    """Makes imports of ``mmcv._ext`` work, in this process. A second call does nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
