"""Runs the commands behind `make`: says what happens, for how long, and how to mend what failed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SIGN_OF_LIFE_S = 60.0
# What a failing pip prints -> what to do about it. The first that matches is shown.
MENDS = (
    ('No space left on device', 'free some disk (8 GB), or point TMPDIR to a larger folder'),
    (
        'name resolution|NewConnectionError|unreachable|Failed to establish|Timeout|ProxyError'
        '|SSLError|Could not find a version|No matching distribution',
        'check the network (and the proxy variables), or name a mirror or a folder of wheels with '
        'PIP_INDEX_URL or PIP_FIND_LINKS; a further run goes on where this one stopped',
    ),
    ('signal 9|Killed|out of memory', 'memory ran out: run MAX_JOBS=1 make env'),
    ('exec: .*: not found', 'install a C++ compiler'),
    ('ensurepip', 'apt-get install python3-venv, or another Python: make env PYTHON=python3.12'),
    ('DO NOT MATCH THE HASHES|BadZipFile|IncompleteRead', 'a download broke: pip cache purge'),
)


class StepError(RuntimeError):
    """A step failed; the message says what, and how to mend it."""


def say(message: str) -> None:
    """Prints a line at once, so that it stands in order with what commands print."""
    print(f'[make] {message}', flush=True)


def duration(seconds: float) -> str:
    """Seconds in words: `0.4 s`, `52 s`, `11 min 05 s`."""
    if seconds < 10:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'


def run_logged(command: Sequence[str | Path], log: Path, **variables: str) -> None:
    """Runs a command with its output in a log file, and gives a sign of life.

    Raises:
        StepError: the command failed; the message holds its last lines and the mend.
    """
    start = time.monotonic()
    with log.open('ab') as sink:
        sink.write(f'\n$ {" ".join(map(str, command))}\n'.encode())
        sink.flush()
        offset = log.stat().st_size
        # packages of another environment would count as installed here, in a user's folder as well
        environment = {**os.environ, 'PYTHONPATH': '', 'PIP_USER': '0', **variables}
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment)
        pause = SIGN_OF_LIFE_S
        try:
            while process.poll() is None:
                try:
                    process.wait(pause)
                except subprocess.TimeoutExpired:
                    pause = time.monotonic() - start  # 1 min, 2 min, 4 min
                    say(f'  ... {duration(pause)}')
        finally:
            process.terminate()  # an interrupted set-up leaves no pip behind
            process.wait()
    if process.returncode:
        output = log.read_bytes()[offset:].decode(errors='replace')
        output += f'\nended with {"signal" if process.returncode < 0 else "status"} '
        output += str(abs(process.returncode))
        mend = next((advice for cause, advice in MENDS if re.search(cause, output)), 'see above')
        tail = '\n'.join(f'    {line[:300]}' for line in output.splitlines()[-25:])
        raise StepError(f'a command failed:\n{tail}\n  Whole output: {log}\n  Mend: {mend}.')


def stop(error: Exception) -> None:
    """Ends the program with the error's message and status 1."""
    print(f'[make] FAILED: {error}', file=sys.stderr, flush=True)
    raise SystemExit(1)
