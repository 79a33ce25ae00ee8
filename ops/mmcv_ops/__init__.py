"""mmcv's operators without compiling mmcv: from torchvision, ``msda`` and plain PyTorch.

    import mmcv_ops   # before mmcv.ops; what is installed does so when Python starts

mmcv calls its operators through one compiled module, ``mmcv._ext``, whose compilation takes a
quarter of an hour. Once this package has been imported, ``import mmcv.ops`` finds
:mod:`mmcv_ops.operators` where there is no compiled one, in every program: MMDetection's and
MMSegmentation's own tools, notebooks, ours. A compiled ``mmcv._ext`` goes first.

mmcv's deformable attention on the CPU is a Python function that never calls ``mmcv._ext``; it and
its CUDA twin are replaced by ``msda`` (:mod:`mmcv_ops.attention`).

Importing the package costs less than a millisecond: torch is imported when mmcv's operators are.
"""

from __future__ import annotations

from mmcv_ops.finder import install, is_compiled

__all__ = ['install', 'is_compiled']

install()
