"""``TimmViT``: any plain timm ViT behind one contract. The ViT itself is timm's.

An encoder embeds an image into :class:`Tokens` and runs spans of blocks on them, so that an adapter
can step in between (ViT-Adapter, https://arxiv.org/abs/2205.08534, figure 4) and tuning methods can
hook every block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitadapter_dense.encoders.attention import GridAttention, WindowPad
from vitadapter_dense.encoders.cached import names_without_cache
from vitadapter_dense.encoders.encoder_fit import check_encoder_weights
from vitadapter_dense.encoders.families import Family, create_plain_vit, family_of
from vitadapter_dense.encoders.hub import check_model_name, load_pretrained
from vitadapter_dense.encoders.padding import pad_to_whole
from vitadapter_dense.encoders.position import resample_grid_embedding
from vitadapter_dense.encoders.relative_position import fit_tables, table_rows
from vitadapter_dense.encoders.storage import StoredDtype, computing, store_frozen
from vitadapter_dense.encoders.tokens import TokenLayout, Tokens

_PREFIX_TOKENS = ('cls_token', 'dist_token', 'reg_token')  # in the order of timm's sequence


class BlockHook(Protocol):
    """What may act around every block; tuning methods do."""

    def before_block(self, index: int, tokens: Tokens) -> Tokens: ...

    def after_block(self, index: int, tokens: Tokens) -> Tokens: ...


@MODELS.register_module()
class TimmViT(BaseModule):
    """A plain ViT of timm as an encoder of tokens: ``VisionTransformer``, ``Beit`` or ``Eva``.

    Positions follow the image, whatever its size: position embeddings and BEiT's tables are
    resampled, rotary tables are made anew. Under windows, relative and rotary positions are those
    within the window. What pre-training drew at random in rotary positions is off.

    Parameters carry timm's names (``blocks.0.attn.qkv.weight``). What dense prediction does not use
    (head, final norm, a dropped CLS token) is not there, unless it is asked for; the position
    embedding is, whole.

    Args:
        model_name: timm's name, e.g. ``deit_small_patch16_224.fb_in1k``.
        pretrained: ``True`` (timm's hub), ``False`` (random), a file or a URL. Read in
            :meth:`init_weights` only: building a model touches neither the network nor the disk.
        window_sizes: side of the attention windows in tokens for each block, ``None`` for global
            attention.
        window_pad: where a map that is no multiple of the window is padded, see
            :mod:`vitadapter_dense.encoders.attention`. BEiT's tables have the size of the window.
        drop_path_rate: of the last block; grows linearly from 0 at the first.
        keep_prefix_tokens: keep CLS and register tokens in the sequence.
        keep_final_norm: keep what timm's classifiers normalise with behind the last block, for
            :meth:`normed`; it is pre-trained as the rest.
        frozen: no parameter trains, and the encoder stays in eval mode.
        norm_eps: of all layer norms; default: timm's.
        dtype: ``'bfloat16'`` stores what is frozen in 16 bits, see
            :mod:`vitadapter_dense.encoders.storage`; what a tuning method trains stays float32.
        with_cp: recompute blocks in the backward pass instead of storing their activations.
        **timm_args: arguments of the timm model (``img_size``, ``embed_dim``, ``depth``,
            ``init_values``, ...). They are timm's own, hence handed on as they are.

    Raises:
        ValueError: unknown model name (the message lists the nearest), or ``window_sizes`` of wrong
            length, or ``dtype='bfloat16'`` for an encoder that trains.
        TypeError: a timm model that is not a plain ViT.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool | str | Path = False,
        *,
        window_sizes: Sequence[int | None] | None = None,
        window_pad: WindowPad = 'qkv',
        drop_path_rate: float = 0.0,
        keep_prefix_tokens: bool = False,
        keep_final_norm: bool = False,
        frozen: bool = False,
        norm_eps: float | None = None,
        dtype: StoredDtype = 'float32',
        with_cp: bool = False,
        **timm_args: Any,
    ) -> None:
        super().__init__()
        check_model_name(model_name)
        self.family: Family = family_of(model_name)
        vit = create_plain_vit(model_name, drop_path_rate=drop_path_rate, **timm_args)
        if norm_eps is not None:
            for module in vit.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = norm_eps
        self.model_name, self.pretrained = model_name, pretrained
        self.drop_path_rate = drop_path_rate
        self.frozen, self.with_cp = frozen, with_cp
        self.embed_dim: int = vit.embed_dim
        self.depth: int = len(vit.blocks)
        self.pretrained_depth = self.depth
        self.patch_size: int = vit.patch_embed.patch_size[0]
        self._image_args = {k: v for k, v in timm_args.items() if k in ('img_size', 'patch_size')}
        self._position_hw: tuple[int, int] = vit.patch_embed.grid_size
        self.block_hooks: list[BlockHook] = []

        self.patch_embed = vit.patch_embed
        self.pos_embed = vit.pos_embed
        self._position_prefix = (
            0 if getattr(vit, 'no_embed_class', False) else vit.num_prefix_tokens
        )
        self._prefix_names = []
        if keep_prefix_tokens:
            for name in _PREFIX_TOKENS:
                if getattr(vit, name, None) is not None:
                    self.register_parameter(name, getattr(vit, name))
                    self._prefix_names.append(name)
        self.num_prefix = vit.num_prefix_tokens if keep_prefix_tokens else 0
        self.pos_drop, self.norm_pre = vit.pos_drop, getattr(vit, 'norm_pre', nn.Identity())
        self.rope: nn.Module | None = getattr(vit, 'rope', None)
        self.blocks = vit.blocks
        self.keep_final_norm = keep_final_norm
        if keep_final_norm:  # of the tokens; of their average, in models that were trained so
            self.norm = getattr(vit, 'norm', nn.Identity())
            self.fc_norm = getattr(vit, 'fc_norm', nn.Identity())
        self.window_sizes = self._use_windows(window_sizes, window_pad)
        self.window_pad = window_pad
        self.register_load_state_dict_pre_hook(names_without_cache)
        if self.family == 'beit':
            self.register_load_state_dict_pre_hook(fit_tables)
            # The tables follow the image themselves, and timm would resample them linearly.
            self._image_args.pop('img_size', None)
            if timm_args.get('use_rel_pos_bias', True):
                self._add_tables()
        if frozen:
            self.requires_grad_(False)
        elif dtype != 'float32':
            raise ValueError(f'dtype={dtype!r} is for what is frozen: set frozen=True, or drop it')
        self.dtype = dtype
        store_frozen(self, dtype)

    def _use_windows(
        self, window_sizes: Sequence[int | None] | None, pad: WindowPad
    ) -> tuple[int | None, ...]:
        sizes = (None,) * self.depth if window_sizes is None else tuple(window_sizes)
        if len(sizes) != self.depth:
            raise ValueError(
                f'window_sizes has {len(sizes)} entries, but {self.model_name!r} has '
                f'{self.depth} blocks: give one entry a block, None for global attention'
            )
        for block, window in zip(self.blocks, sizes, strict=True):
            if window is not None or self.family != 'vit':
                block.attn = GridAttention(getattr(block, 'attn', None), window, pad=pad)
                block.takes_layout = True
        return sizes

    def _add_tables(self) -> None:
        """BEiT's relative-position bias, of each block's own size; it starts at 0."""
        for block, window in zip(self.blocks, self.window_sizes, strict=True):
            hw = self._position_hw if window is None else (window, window)
            with_cls = self.num_prefix > 0
            table = torch.zeros(table_rows(hw, with_cls), block.attn.num_heads)
            block.attn.add_table(table, hw, with_cls=with_cls)

    def keep_blocks(self, count: int) -> None:
        """Drops the blocks from number ``count`` on, because nothing uses their outputs.

        The others stay those of a model of ``pretrained_depth`` blocks: in their drop path rates,
        their layers for layer-wise decay, and the weights that fit.
        """
        if count == self.depth:
            return
        print_log(
            f'{self.model_name}: blocks {count} to {self.depth - 1} are not built, because nothing '
            f'uses their outputs',
            logger='current',
        )
        self.blocks, self.window_sizes = self.blocks[:count], self.window_sizes[:count]
        self.depth = count

    def init_weights(self) -> None:
        """Loads the pre-trained weights, unless the whole model is loaded from a checkpoint anyway.

        A module with the attribute ``skip_pretrained`` set keeps what it has.
        """
        if self.pretrained and not getattr(self, 'skip_pretrained', False):
            load_pretrained(self, self.model_name, self.pretrained, image_args=self._image_args)
        self._is_init = True

    def check_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *, what: str) -> None:
        """Raises if a state dict is that of an encoder of another architecture.

        Args:
            state_dict: in our names.
            prefix: of this encoder's keys.
            what: what the weights are, for the message.

        Raises:
            WeightsError: it is; see :mod:`vitadapter_dense.encoders.encoder_fit`.
        """
        check_encoder_weights(self, state_dict, prefix, what=what)

    def train(self, mode: bool = True) -> TimmViT:
        """A frozen encoder stays in eval mode; so do rotary positions, equal in every span."""
        super().train(mode and not self.frozen)
        if self.rope is not None:
            self.rope.eval()
        return self

    def embed(self, images: Tensor) -> Tokens:
        """Patches, prefix tokens and positions.

        Args:
            images: ``(B, 3, H, W)`` of any size; zeros are added at the bottom and right up to
                whole patches.

        Returns:
            A map of ``ceil(H / patch_size) x ceil(W / patch_size)`` tokens.
        """
        with computing(images.device.type, self.dtype):
            return self._embed(pad_to_whole(images, self.patch_size))

    def _embed(self, images: Tensor) -> Tokens:
        patches = self.patch_embed.proj(images)
        if self.dtype != 'float32':
            patches = patches.float()
        hw = (patches.shape[-2], patches.shape[-1])
        x = self.patch_embed.norm(patches.flatten(2).transpose(1, 2))  # (B, H*W, C)
        prefix = [getattr(self, name).expand(x.shape[0], -1, -1) for name in self._prefix_names]
        if self.pos_embed is not None:
            of_prefix, of_map = self.pos_embed.tensor_split([self._position_prefix], dim=1)
            x = x + resample_grid_embedding(of_map, self._position_hw, hw)
            if prefix:
                joined = torch.cat(prefix, dim=1)
                prefix = [joined + of_prefix if self._position_prefix else joined]
        x = torch.cat([*prefix, x], dim=1) if prefix else x
        return Tokens(self.norm_pre(self.pos_drop(x)), hw, self.num_prefix, images)

    def run(self, tokens: Tokens, start: int = 0, stop: int | None = None) -> Tokens:
        """Runs blocks ``start`` to ``stop`` (exclusive; ``None``: to the end) with their hooks."""
        with computing(tokens.x.device.type, self.dtype):
            stop = self.depth if stop is None else stop
            return self._run(tokens, start, stop, self.block_hooks)

    def run_untouched(self, images: Tensor) -> Tokens:
        """What all blocks make of images ``(B, 3, H, W)`` without any hook."""
        tokens = self.embed(images)
        with computing(images.device.type, self.dtype):
            return self._run(tokens, 0, self.depth, ())

    def _run(self, tokens: Tokens, start: int, stop: int, hooks: Sequence[BlockHook]) -> Tokens:
        tables = self._rotary_tables(tokens.hw, start, stop)
        for index in range(start, stop):
            for hook in hooks:
                tokens = hook.before_block(index, tokens)
            tokens = tokens.with_x(self._run_block(index, tokens, tables))
            for hook in hooks:
                tokens = hook.after_block(index, tokens)
        return tokens

    def normed(self, x: Tensor) -> Tensor:
        """Tokens ``(B, N, C)`` behind the last block, through the final norm."""
        with computing(x.device.type, self.dtype):
            return self.norm(x)

    def run_through(self, images: Tensor, indices: Sequence[int]) -> list[Tokens]:
        """Embeds ``(B, 3, H, W)`` and gives the tokens after each of the blocks ``indices``.

        Args:
            images: of any size.
            indices: rising block numbers; what comes after the last of them does not run.
        """
        tokens, start, outputs = self.embed(images), 0, []
        for index in indices:
            tokens = self.run(tokens, start, index + 1)
            start = index + 1
            outputs.append(tokens)
        return outputs

    def _rotary_tables(
        self, hw: tuple[int, int], start: int, stop: int
    ) -> dict[int | None, Tensor]:
        """Rotary tables by the window that they are for, None for the map; none without rotary
        positions."""
        if self.rope is None:
            return {}
        spans = {
            window: hw if window is None else (window, window)
            for window in self.window_sizes[start:stop]
        }
        return {window: self.rope.get_embed(shape=list(span)) for window, span in spans.items()}

    def _run_block(self, index: int, tokens: Tokens, tables: dict[int | None, Tensor]) -> Tensor:
        block = self.blocks[index]
        table = tables.get(self.window_sizes[index])
        if table is not None and table.ndim == 4:  # learned frequencies: one table a block
            table = table[index]
        args: tuple[Tensor | TokenLayout, ...] = (tokens.x,)
        mask = tokens.attention_mask
        if getattr(block, 'takes_layout', False):  # others of timm know none, and need none
            args += (TokenLayout(tokens.hw, tokens.num_prefix, table, mask),)
        elif mask is not None:  # the second argument of a ViT's block
            args += (mask,)
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning-rate decay.

        Args:
            name: the parameter's name relative to this encoder.

        Returns:
            ``(depth, number of layers)``: 0 for the embeddings, ``i + 1`` for block i, the last
            layer for everything else; there are ``self.pretrained_depth + 2`` layers.
        """
        num_layers = self.pretrained_depth + 2
        block = re.match(r'blocks\.(\d+)\.', name)
        if block:
            return int(block.group(1)) + 1, num_layers
        embeddings = ('patch_embed.', 'norm_pre.', 'rope.')
        if name.startswith(embeddings) or name in ('pos_embed', *_PREFIX_TOKENS):
            return 0, num_layers
        return num_layers - 1, num_layers

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are usually not decayed, relative to this encoder."""
        return {'pos_embed', *self._prefix_names}
