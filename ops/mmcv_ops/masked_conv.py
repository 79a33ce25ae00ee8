"""The two halves of a convolution at chosen places of one image (Guided Anchoring, Wang et al.,
https://arxiv.org/abs/1901.03278)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Writes what the kernel sees at the chosen places.

    Args:
        im: ``(1, C, H, W)``.
        mask_h_idx: rows ``(K,)`` of the places in the output.
        mask_w_idx: their columns.
        col: ``(C * kernel_h * kernel_w, K)``, written.
        kernel_h: height of the kernel.
        kernel_w: width of the kernel.
        pad_h: zeros above and below.
        pad_w: zeros left and right.
    """
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    windows = padded.unfold(1, kernel_h, 1).unfold(2, kernel_w, 1)  # (C, H', W', kh, kw)
    seen = windows[:, mask_h_idx, mask_w_idx]  # (C, K, kh, kw)
    col.copy_(seen.permute(0, 2, 3, 1).reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Writes ``col (C', K)`` to the chosen places of ``im (1, C', height, width)``."""
    im[0, :, mask_h_idx, mask_w_idx] = col
