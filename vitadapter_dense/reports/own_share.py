"""How much of a data set is a process's own, when several test it.

MMEngine's `DefaultSampler` deals the images out in turn and begins again at the first, so that each
process gets as many: the last of some are then images that another one has too.
"""

from __future__ import annotations

from mmengine.dist import get_dist_info


def own_share(total: int) -> int:
    """How many of the first `total` images this process has, none of them counted twice."""
    rank, processes = get_dist_info()
    return max(0, -(-(total - rank) // processes))
