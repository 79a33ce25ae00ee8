"""Runs the commands behind `make`: says what happens and for how long, and ends with the mend.

Standard library only, because it runs before anything is installed. A quiet command writes to a log
and gives a sign of life; when it fails, its last lines are shown and known causes get their mend.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SIGN_OF_LIFE_S = 30.0

# What a failing command prints -> what to do about it. The first that matches is shown.
MENDS = (
    (
        r'No space left on device',
        'The disk is full. Free some space (the environment takes 6 GB); if it is the temporary '
        'folder that is full, point TMPDIR to a larger one.',
    ),
    (
        r'Temporary failure in name resolution|NewConnectionError|Network is unreachable'
        r'|Failed to establish a new connection|ReadTimeoutError|ConnectTimeout|ProxyError'
        r'|SSLError|Could not find a version that satisfies|No matching distribution',
        'pip could not get a package. Check the network (and the proxy variables), or name a '
        'package mirror or a folder of wheels with PIP_INDEX_URL or PIP_FIND_LINKS. A further run '
        'goes on where this one stopped.',
    ),
    (
        r'Killed signal terminated|signal 9|\(Killed\)|cannot allocate memory|out of memory',
        'A process was killed, most often for lack of memory. Run again with fewer compilers at a '
        'time: MAX_JOBS=1 make env',
    ),
    (
        r'Python\.h: No such file',
        'The headers of Python are missing. On Debian or Ubuntu: apt-get install python3-dev '
        '(python3.12-dev for Python 3.12).',
    ),
    (
        r"(g\+\+|c\+\+|gcc|cc1plus)['\"]?:? (failed: )?(No such file|not found|command not found)"
        r'|No such file or directory: .(c\+\+|g\+\+)|unable to find .*compiler',
        'There is no C++ compiler. On Debian or Ubuntu: apt-get install g++ (or set CXX to one).',
    ),
    (
        r'The detected CUDA version|nvcc fatal|unsupported GNU version',
        'nvcc does not fit the installed torch. Install the CUDA toolkit of the version that torch '
        'was built for, or build without it: hide nvcc from PATH and unset CUDA_HOME.',
    ),
    (
        r'THESE PACKAGES DO NOT MATCH THE HASHES|BadZipFile|IncompleteRead',
        'A download was broken. Run again; if it comes back: pip cache purge.',
    ),
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


def mend_for(output: str) -> str | None:
    """The advice for a failed command's output; None when its cause is not a known one."""
    for pattern, advice in MENDS:
        if re.search(pattern, output, re.IGNORECASE):
            return advice
    return None


def run_logged(
    command: Sequence[str | os.PathLike[str]],
    log: Path,
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Runs a command with its output in a log file.

    Args:
        command: program and arguments.
        log: file that the output is added to.
        env: variables set over the present environment.
        cwd: folder to run in.

    Raises:
        StepError: the command failed; the message holds its last lines and the mend.
    """
    with log.open('a') as sink:
        sink.write(f'\n$ {" ".join(map(str, command))}\n')
        sink.flush()
        start, offset = time.monotonic(), log.stat().st_size
        process = subprocess.Popen(
            command,
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=SIGN_OF_LIFE_S)
                    break
                except subprocess.TimeoutExpired:
                    say(f'  ... {duration(time.monotonic() - start)}{_progress(log, offset)}')
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status != 0:
        how = f'signal {-status}' if status < 0 else f'status {status}'
        output = f'{_read_from(log, offset)}\nended with {how}'
        tail = '\n'.join(f'    {line[:300]}' for line in output.splitlines()[-25:])
        advice = mend_for(output) or 'see the lines above, and run the command again.'
        raise StepError(
            f'{Path(command[0]).name} ended with {how}. Its last lines:\n{tail}\n'
            f'  Whole output: {log}\n  Mend: {advice}'
        )


def run_shown(command: Sequence[str | os.PathLike[str]], *, cwd: Path | None = None) -> None:
    """Runs a command with its output on the terminal; raises `StepError` when it fails."""
    say(f'$ {" ".join(map(str, command))}')
    status = subprocess.run(command, cwd=cwd, check=False).returncode
    if status != 0:
        raise StepError(f'the command above ended with status {status}; it says why.')


def stop(error: StepError) -> None:
    """Ends the program with the error's message and status 1."""
    print(f'[make] FAILED: {error}', file=sys.stderr, flush=True)
    raise SystemExit(1)


def _read_from(path: Path, offset: int) -> str:
    with path.open('rb') as file:
        file.seek(offset)
        return file.read().decode(errors='replace')


def _progress(log: Path, offset: int) -> str:
    """The compiler's last `[files done/files]` in the log, as `, 35/78 files compiled`."""
    counts = re.findall(r'^\s*\[(\d+)/(\d+)\] ', _read_from(log, offset), re.MULTILINE)
    return f', {counts[-1][0]}/{counts[-1][1]} files compiled' if counts else ''
