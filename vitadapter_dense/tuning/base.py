"""``Tuning``: the one interface of every tuning method, and how a backbone takes one on.

A method declares what trains (``trainable``), may act around every block or stage of a frozen
backbone, and may be folded into plain weights (``merge``). It never renames a pre-trained
parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.encoders.storage import widen_trained
from vitadapter_dense.encoders.tokens import Tokens


class Tuning(nn.Module):
    """A tuning method without any effect: everything pre-trained is frozen.

    Attributes:
        sites: names, relative to the backbone, of the modules or parameters that it concerns.
        identity_at_start: the untrained method leaves the output as it is; where it does not, its
            paper says so.
        mergeable: whether :meth:`merge` works, because what trains can be folded into plain
            weights or is plain weights already.
        alone: it makes no sense beside other methods.
        adds_tokens: the method changes the number of tokens, and must do so before others look.
        acts_behind: what its sites compute is as pre-trained, and changed behind them only.
    """

    identity_at_start: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    adds_tokens: ClassVar[bool] = False
    acts_behind: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[str] = []

    def attach(self, backbone: nn.Module) -> None:
        """Prepares for a backbone, once; records ``sites``.

        Raises:
            ValueError: nothing in the backbone fits the method.
        """

    def before_block(self, index: int, tokens: Tokens) -> Tokens:
        """Acts on the tokens that enter block ``index``."""
        return tokens

    def after_block(self, index: int, tokens: Tokens) -> Tokens:
        """Acts on the tokens that leave block ``index``."""
        return tokens

    def after_stage(self, index: int, feature_map: Tensor) -> Tensor:
        """Acts on the map ``(B, C, H, W)`` that leaves stage ``index``."""
        return feature_map

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether a parameter of the backbone, by its name there, trains."""
        return False

    def losses(self) -> dict[str, Tensor]:
        """Named and scaled losses of the last forward pass in training, handed out once.

        `MethodLossesHook` adds them to the model's own; names contain ``loss``.
        """
        return {}

    def merge(self) -> None:
        """Folds the method into the backbone's plain weights.

        Raises:
            TypeError: the method cannot be folded.
        """
        raise TypeError(
            f'{type(self).__name__} cannot be merged into plain weights: it is no affine map of '
            f'what a pre-trained layer gives'
        )


class TuningList(Tuning):
    """Several methods on one backbone, applied in order.

    Args:
        methods: the methods.

    Raises:
        ValueError: methods that exclude each other, or none.
    """

    def __init__(self, methods: Sequence[Tuning]) -> None:
        super().__init__()
        names = [type(method).__name__ for method in methods]
        if not names:
            raise ValueError('tuning=[] names no method; tuning=None trains the backbone whole')
        alone = [type(method).__name__ for method in methods if method.alone]
        if alone and len(names) > 1:
            raise ValueError(f'{alone[0]} excludes any other method, but tuning has {names}')
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'{twice[0]} stands twice in tuning={names}; keep one of them')
        prompts = [
            type(method).__name__ for method in methods if getattr(method, 'leaves_prompts', False)
        ]
        if len(prompts) > 1:
            raise ValueError(
                f'{" and ".join(prompts)} put prompts beside the tokens: keep one of them; for a '
                f'pool with a generator there is PooledPromptGenerator'
            )
        self.methods = nn.ModuleList(methods)

    @property
    def identity_at_start(self) -> bool:
        """Whether all of the methods leave the output as it is."""
        return all(method.identity_at_start for method in self.methods)

    @property
    def mergeable(self) -> bool:
        """Whether all of the methods can be folded."""
        return all(method.mergeable for method in self.methods)

    def attach(self, backbone: nn.Module) -> None:
        """Attaches every method."""
        for method in self.methods:
            method.attach(backbone)
            self.sites += method.sites

    def before_block(self, index: int, tokens: Tokens) -> Tokens:
        """Applies every method in order, those first that change the number of tokens."""
        for method in sorted(self.methods, key=lambda method: not method.adds_tokens):
            tokens = method.before_block(index, tokens)
        return tokens

    def after_block(self, index: int, tokens: Tokens) -> Tokens:
        """Applies every method in order."""
        for method in self.methods:
            tokens = method.after_block(index, tokens)
        return tokens

    def after_stage(self, index: int, feature_map: Tensor) -> Tensor:
        """Applies every method in order."""
        for method in self.methods:
            feature_map = method.after_stage(index, feature_map)
        return feature_map

    def losses(self) -> dict[str, Tensor]:
        """Those of all methods."""
        return {name: loss for method in self.methods for name, loss in method.losses().items()}

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether any of the methods trains the parameter."""
        return any(method.trainable(name, parameter) for method in self.methods)

    def merge(self) -> None:
        """Merges every method in the order in which they act, or none if one cannot be."""
        for method in self.methods:
            if not method.mergeable:
                method.merge()  # says why not
        for method in self.methods:
            method.merge()


def build_tuning(cfg: dict[str, Any] | Sequence[dict[str, Any]] | Tuning) -> Tuning:
    """Builds a method from its config, or a combination from a list of configs.

    Raises:
        ValueError: an unknown method or option, with those that there are.
    """
    if isinstance(cfg, Tuning):
        return cfg
    if isinstance(cfg, str):
        raise ValueError(f'tuning={cfg!r}: give tuning=dict(type={cfg!r}), or a list of such')
    if not isinstance(cfg, dict):
        return TuningList([build_tuning(one) for one in cfg])
    kind = cfg.get('type')
    method = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(method, type) and issubclass(method, Tuning)):
        known = sorted(
            name
            for name, entry in MODELS.module_dict.items()
            if isinstance(entry, type) and issubclass(entry, Tuning)
        )
        raise ValueError(f'tuning=dict(type={kind!r}): there is no such method; choose of {known}')
    options = list(inspect.signature(method).parameters)
    # MMEngine marks what a configuration inherits from another package with its scope
    unknown = sorted(cfg.keys() - {'type', '_scope_', *options})
    if unknown:
        raise ValueError(f'{method.__name__} has no option {unknown[0]!r}; it has {options}')
    return MODELS.build(cfg)


def check_untuned(backbone: nn.Module) -> None:
    """Raises for a backbone, or one on an encoder, to which a method is attached already.

    Raises:
        ValueError: a second would act on top of the first.
    """
    encoder = getattr(backbone, 'encoder', backbone)
    methods = [hook for hook in getattr(encoder, 'block_hooks', []) if isinstance(hook, Tuning)]
    if methods or getattr(backbone, 'tuning', None) is not None:
        what = backbone if encoder is backbone or not methods else encoder
        raise ValueError(
            f'{type(what).__name__} is tuned already; put all methods into one list tuning=[...], '
            f'or build another for another model'
        )


def freeze_all_but(backbone: nn.Module, tuning: Tuning) -> None:
    """Freezes what the method does not train; what trains is float32."""
    own = {id(parameter) for parameter in tuning.parameters()}
    for name, parameter in backbone.named_parameters():
        if id(parameter) not in own:
            parameter.requires_grad_(tuning.trainable(name, parameter))
    widen_trained(backbone)


def keep_frozen_parts_in_eval(backbone: nn.Module) -> None:
    """Puts every module that trains nothing in eval mode; call it after every ``train()``.

    Batch-norm statistics, dropout and drop-path of frozen parts then stay as they are. A module
    without any parameter (a dropout) follows the module that it belongs to. The method itself is
    left alone.
    """
    methods = [module for module in backbone.modules() if isinstance(module, Tuning)]
    own = {id(parameter) for method in methods for parameter in method.parameters()}

    def visit(module: nn.Module, parent_trains: bool) -> None:
        if isinstance(module, Tuning):
            return
        parameters = [p for p in module.parameters() if id(p) not in own]
        trains = any(p.requires_grad for p in parameters) if parameters else parent_trains
        module.training = module.training and trains
        for child in module.children():
            visit(child, trains)

    visit(backbone, parent_trains=True)
