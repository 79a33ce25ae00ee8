"""Importing this module makes mmcv's deformable attention compute with our kernels.

For configs: ``custom_imports = dict(imports=['vitadapter_dense', 'msda.use_in_mmcv'])``.
"""

from __future__ import annotations

from msda.mmcv_ops import replace_mmcv_ops

replacement = replace_mmcv_ops()
