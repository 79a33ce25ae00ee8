#!/usr/bin/env bash
# Trains as a Slurm job step: one task for each GPU.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]

Environment:
  GPUS           GPUs in all (default 8)
  GPUS_PER_NODE  GPUs of one machine (default: GPUS, at most 8)
  CPUS_PER_TASK  CPU cores for each GPU (default 5)
  SRUN_ARGS      more arguments of srun
  PORT           port of the first machine (default 29500)
  PYTHON         interpreter (default python)
TEXT
}

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
    usage
    exit 0
fi
if (( $# < 3 )); then
    usage >&2
    exit 2
fi

partition=$1
job_name=$2
config=$3
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$(( gpus < 8 ? gpus : 8 ))}
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export MASTER_PORT=${PORT:-29500}
read -r -a more <<< "${SRUN_ARGS:-}"

exec srun \
    --partition="$partition" \
    --job-name="$job_name" \
    --gres="gpu:$gpus_per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${more[@]+"${more[@]}"} \
    "${PYTHON:-python}" -u "$tools/train.py" "$config" --launcher slurm "${@:4}"
