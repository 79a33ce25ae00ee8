#!/usr/bin/env bash
# Trains on several GPUs of one or more machines; without a GPU, in several CPU processes.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]

Starts GPUS processes on this machine. Without a GPU they compute on the CPU and talk through gloo.

Environment:
  NNODES       number of machines (default 1)
  NODE_RANK    number of this machine, from 0 (default 0)
  MASTER_ADDR  address of machine 0 (default 127.0.0.1)
  PORT         port of machine 0 (default: a free one on one machine, 29500 on several)
  PYTHON       interpreter (default python)
TEXT
}

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
    usage
    exit 0
fi
if (( $# < 2 )) || ! [[ "$2" =~ ^[1-9][0-9]*$ ]]; then
    usage >&2
    exit 2
fi

GPUS=$2
NNODES=${NNODES:-1}
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if (( NNODES == 1 )) && [[ -z "${PORT:-}" ]]; then
    rendezvous=(--standalone)
else
    rendezvous=(
        --nnodes "$NNODES"
        --node_rank "${NODE_RANK:-0}"
        --master_addr "${MASTER_ADDR:-127.0.0.1}"
        --master_port "${PORT:-29500}"
    )
fi

exec "${PYTHON:-python}" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node "$GPUS" \
    "$tools/train.py" "$1" --launcher pytorch "${@:3}"
