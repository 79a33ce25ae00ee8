#!/usr/bin/env bash
# Trains on several GPUs of one or more machines; without a GPU, in several CPU processes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/dist_launch.sh"

usage() {
    cat <<'TEXT'
Usage: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]

Starts GPUS processes on this machine. Without a GPU they compute on the CPU and talk through gloo.

TEXT
    environment_help
}

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
    usage
    exit 0
fi
if (( $# < 2 )) || ! [[ "$2" =~ ^[1-9][0-9]*$ ]]; then
    usage >&2
    exit 2
fi
launch "$2" train.py "$1" --launcher pytorch "${@:3}"
