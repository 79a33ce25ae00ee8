"""``CachedEncoder``: the features of a frozen encoder, computed once and read from the disk.

For a data set of fixed images (no random crop, flip or scale) a frozen encoder that nothing is
injected into gives the same features in every epoch. They are found again by the content of the
image as the encoder sees it, so that no data pipeline has to know of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.checkpoints.checked_loading import hash_of
from vitadapter_dense.encoders.feature_folder import FeatureError, FeatureFolder
from vitadapter_dense.encoders.tokens import Tokens

_SETTINGS = ('model_name', 'patch_size', 'num_prefix', 'window_sizes', 'window_pad')


@dataclass(frozen=True)
class CachedTokens(Tokens):
    """Tokens that bring the features of their images along.

    Attributes:
        features: ``(B, num_prefix + H * W, C)`` after a block, by its number.
    """

    features: Mapping[int, Tensor] = field(default_factory=dict)


@MODELS.register_module()
class CachedEncoder(BaseModule):
    """A frozen encoder whose features after some blocks lie in a folder.

    Behaves as the encoder in it, but runs from one of these blocks to the next only, and nothing
    may change the tokens in between: ``ViTAdapter(injector=False)``. Checkpoints of a model with it
    fit the model without it, and the other way round.

    In training every image must be in the folder (or ``write`` is set), because a pipeline that
    gives other images than those kept would make the folder useless unnoticed. In evaluation an
    image that is not there goes through the encoder.

    Args:
        encoder: config of a frozen encoder (``type='TimmViT', frozen=True``), or the encoder.
        folder: one file an image, see ``tools/dataset/cache_features.py``.
        blocks: rising numbers of the blocks after which features are kept: the last ones of the
            adapter's interactions. Default: the ends of four equal spans.
        write: keep what was computed for images that are not in the folder yet.
        dtype: of what is written: ``'float16'``, ``'bfloat16'`` or ``'float32'``.

    Raises:
        ValueError: an encoder that trains, or blocks that it does not have.
    """

    def __init__(
        self,
        encoder: dict[str, Any] | nn.Module,
        folder: str | Path,
        *,
        blocks: Sequence[int] | None = None,
        write: bool = False,
        dtype: str = 'float16',
    ) -> None:
        super().__init__()
        self.encoder = MODELS.build(encoder) if isinstance(encoder, dict) else encoder
        depth = self.encoder.depth
        if blocks is None:
            blocks = [round(part * depth / 4) - 1 for part in range(1, 5)]
        self.blocks = list(blocks)
        if (
            self.blocks != sorted(set(self.blocks))
            or not 0 <= self.blocks[0] <= self.blocks[-1] < depth
        ):
            raise ValueError(f'blocks {self.blocks} must be rising numbers from 0 to {depth - 1}')
        if not self.encoder.frozen:
            raise ValueError('only features of a frozen encoder can be kept: set frozen=True in it')
        if dtype not in ('float16', 'bfloat16', 'float32'):
            raise ValueError(f"dtype={dtype!r}; choose 'float16', 'bfloat16' or 'float32'")
        self.folder, self.write, self.dtype = Path(folder), write, getattr(torch, dtype)
        self.frozen, self.drop_path_rate = True, self.encoder.drop_path_rate
        self.embed_dim, self.depth = self.encoder.embed_dim, depth
        self.patch_size, self.num_prefix = self.encoder.patch_size, self.encoder.num_prefix
        self._opened: FeatureFolder | None = None
        self._in_training = False
        self.register_load_state_dict_pre_hook(_names_with_cache)

    def keep_blocks(self, count: int) -> None:
        """Nothing: it is frozen, and its features are told by the weights of all blocks."""

    @property
    def kept(self) -> FeatureFolder:
        """The folder, compared with the encoder when it is first used.

        Raises:
            FeatureError: its features are of another encoder.
        """
        if self._opened is None:
            state = self.encoder.state_dict()
            settings = {name: getattr(self.encoder, name, None) for name in _SETTINGS}
            owner = dict(settings, blocks=self.blocks, weights=hash_of(state, sorted(state)))
            self._opened = FeatureFolder(self.folder, owner)
        return self._opened

    def embed(self, images: Tensor) -> CachedTokens:
        """Reads or computes the features of ``images (B, 3, H, W)``; its own map is not used."""
        files = [self.kept.file_of(image) for image in images]
        found = [self.kept.read(file) for file in files]
        missing = [index for index, features in enumerate(found) if features is None]
        if missing:
            self._check_missing(images)
            with torch.no_grad():
                stages = self.encoder.run_through(images[missing], self.blocks)
            for row, index in enumerate(missing):
                found[index] = {
                    str(block): stage.x[row]
                    for block, stage in zip(self.blocks, stages, strict=True)
                }
                if self.write:
                    self.kept.write(files[index], self._to_keep(found[index]))
        features = {
            block: torch.stack([of_image[str(block)].to(images) for of_image in found])
            for block in self.blocks
        }
        height, width = images.shape[-2:]
        hw = (-(-height // self.patch_size), -(-width // self.patch_size))
        x = torch.zeros_like(features[self.blocks[0]])
        return CachedTokens(x, hw, self.num_prefix, features=features)

    def run(self, tokens: CachedTokens, start: int = 0, stop: int | None = None) -> CachedTokens:
        """The features after block ``stop - 1`` of the images that the tokens were made of.

        Raises:
            FeatureError: none are kept after that block.
        """
        stop = self.depth if stop is None else stop
        if stop - 1 not in tokens.features:
            raise FeatureError(
                f'no features are kept after block {stop - 1}, only after {self.blocks}: set '
                f'blocks to the last blocks of the interactions'
            )
        return tokens.with_x(tokens.features[stop - 1])

    def run_through(self, images: Tensor, indices: Sequence[int]) -> list[Tokens]:
        """The features of ``(B, 3, H, W)`` after each of the blocks ``indices``."""
        tokens = self.embed(images)
        return [self.run(tokens, 0, index + 1) for index in indices]

    def _check_missing(self, images: Tensor) -> None:
        if self._in_training and not self.write:
            height, width = images.shape[-2:]
            raise FeatureError(
                f'an image of {height} x {width} pixels is not in {str(self.folder)!r}. Make the '
                f'features with tools/dataset/cache_features.py on this configuration; its '
                f'training pipeline must give every image in one form (no random crop, flip or '
                f'scale) and all of a batch in one size. Or keep what is new: write=True'
            )

    def _to_keep(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = {name: tensor.to('cpu', self.dtype) for name, tensor in features.items()}
        for name, tensor in kept.items():
            if not tensor.isfinite().all():
                raise FeatureError(
                    f'the features after block {name} are not finite in {self.dtype}; choose '
                    f"dtype='bfloat16' or 'float32'"
                )
        return kept

    def init_weights(self) -> None:
        """Loads the encoder's pre-trained weights."""
        self.encoder.init_weights()
        self._is_init, self._opened = True, None

    def train(self, mode: bool = True) -> CachedEncoder:
        """Stays in eval mode, but notes whether the model around it trains."""
        self._in_training = mode
        return super().train(False)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """As the encoder's."""
        return self.encoder.get_layer_depth(name.removeprefix('encoder.'))


def _names_with_cache(
    module: CachedEncoder, state_dict: dict[str, Any], prefix: str, *_: Any
) -> None:
    """A load-state-dict pre-hook: the names of an encoder without a cache -> those with one."""
    module._opened = None  # other weights, another encoder
    for key in list(state_dict):
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and not name.startswith('encoder.'):
            state_dict[f'{prefix}encoder.{name}'] = state_dict.pop(key)


def names_without_cache(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any
) -> None:
    """A load-state-dict pre-hook for an encoder: the names of one in a cache -> its own.

    Args:
        module: the encoder.
        state_dict: renamed in place.
        prefix: of the encoder's keys.
    """
    for key in list(state_dict):
        if key.startswith(f'{prefix}encoder.'):
            state_dict[prefix + key.removeprefix(f'{prefix}encoder.')] = state_dict.pop(key)
