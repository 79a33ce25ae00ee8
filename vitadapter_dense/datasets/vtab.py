"""The 19 tasks of VTAB-1k (Zhai et al., https://arxiv.org/abs/1910.04867) by their usual names.

Folders and lists are those of the processed set that most methods share: `<task>/train800.txt`,
`val200.txt`, `train800val200.txt` and `test.txt`, with paths from `<task>/`.
"""

from __future__ import annotations

VTAB_TASKS: dict[str, tuple[str, int]] = {
    'cifar': ('natural', 100),
    'caltech101': ('natural', 102),
    'dtd': ('natural', 47),
    'oxford_flowers102': ('natural', 102),
    'oxford_iiit_pet': ('natural', 37),
    'svhn': ('natural', 10),
    'sun397': ('natural', 397),
    'patch_camelyon': ('specialized', 2),
    'eurosat': ('specialized', 10),
    'resisc45': ('specialized', 45),
    'diabetic_retinopathy': ('specialized', 5),
    'clevr_count': ('structured', 8),
    'clevr_dist': ('structured', 6),
    'dmlab': ('structured', 6),
    'kitti': ('structured', 4),
    'dsprites_loc': ('structured', 16),
    'dsprites_ori': ('structured', 16),
    'smallnorb_azi': ('structured', 18),
    'smallnorb_ele': ('structured', 9),
}
"""Task -> its group and number of classes, in the order of the paper's tables."""
