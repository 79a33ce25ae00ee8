#!/usr/bin/env bash
# Evaluates on several GPUs of one or more machines; without a GPU, in several CPU processes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/dist_launch.sh"

usage() {
    cat <<'TEXT'
Usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]

Starts GPUS processes on this machine. CHECKPOINT may be a work directory.

TEXT
    environment_help
}

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
    usage
    exit 0
fi
if (( $# < 3 )) || ! [[ "$3" =~ ^[1-9][0-9]*$ ]]; then
    usage >&2
    exit 2
fi
launch "$3" test.py "$1" "$2" --launcher pytorch "${@:4}"
