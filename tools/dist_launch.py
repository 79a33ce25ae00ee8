"""torch's launcher, but a run that is stopped by Ctrl-C or SIGTERM ends without a traceback.

It hands the signal to its processes and waits 30 seconds for them. Started by dist_launch.sh.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.run import main

if __name__ == '__main__':
    try:
        main()
    except SignalException as stop:
        sys.exit(128 + stop.sigval)
