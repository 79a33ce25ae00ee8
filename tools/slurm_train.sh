#!/usr/bin/env bash
# Trains as a Slurm job step: one task for each GPU. In a batch job it goes on after the time limit.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]

In a batch job that Slurm warns before its time limit, the training writes a checkpoint, the job is
queued again, and then goes on from there:

  sbatch --requeue --open-mode=append --signal=USR1@300 --partition=PARTITION \
      --gres=gpu:8 --ntasks=8 --ntasks-per-node=8 --cpus-per-task=5 --time=24:00:00 \
      --wrap 'exec tools/slurm_train.sh PARTITION JOB_NAME CONFIG'

It is queued again after SIGUSR1, and after SIGTERM in the last minutes (REQUEUE_WITHIN) of its
time; at any other time SIGTERM ends it (scancel, preemption) with a checkpoint.

Environment:
  GPUS            GPUs in all (default 8)
  GPUS_PER_NODE   GPUs of one machine (default: GPUS, at most 8)
  CPUS_PER_TASK   CPU cores for each GPU (default 5)
  SRUN_ARGS       more arguments of srun
  PORT            port of the first machine (default 29500)
  PYTHON          interpreter (default python)
  REQUEUE_WITHIN  seconds before the end of the job's time (default 600)
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

step=(
    srun
    --partition="$partition"
    --job-name="$job_name"
    --gres="gpu:$gpus_per_node"
    --ntasks="$gpus"
    --ntasks-per-node="$gpus_per_node"
    --cpus-per-task="${CPUS_PER_TASK:-5}"
    --kill-on-bad-exit=1
    ${more[@]+"${more[@]}"}
    "${PYTHON:-python}" -u "$tools/train.py" "$config" --launcher slurm "${@:4}"
)
if [[ -z "${SLURM_JOB_ID:-}" || -t 0 ]]; then # no batch job, the only kind that is queued again
    exec "${step[@]}"
fi

warned='' # the last signal that this shell was sent, and hands on
waits='' # one that came before there was a child
count=0
child=''
hand_on() {
    warned=$1
    count=$(( count + 1 ))
    if [[ -z "$child" ]]; then
        waits=$1
    else
        kill -s "$1" "$child" 2> /dev/null || true
    fi
}
trap 'hand_on USR1' USR1
trap 'hand_on TERM' TERM
"${step[@]}" &
child=$!
[[ -z "$waits" ]] || hand_on "$waits"
while true; do
    before=$count
    status=0
    wait "$child" || status=$?
    if (( count == before )); then # else it was the waiting that a signal has ended
        break
    fi
done

near_the_end() { # whether the job's time is nearly over
    [[ "${SLURM_JOB_END_TIME:-}" =~ ^[0-9]+$ ]] \
        && (( SLURM_JOB_END_TIME - $(date +%s) <= ${REQUEUE_WITHIN:-600} ))
}

if (( status == 0 )); then
    exit 0
fi
# srun's status is the highest of its tasks': 128 and the signal at which they have stopped
if [[ "$warned" == USR1 || "$status" == 138 ]] \
    || { [[ "$warned" == TERM || "$status" == 143 ]] && near_the_end; }; then
    echo "slurm_train.sh: the job's time ends, job $SLURM_JOB_ID is queued again" >&2
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
