# Sourced by dist_train.sh and dist_test.sh: starts the processes of one machine.

# launch GPUS SCRIPT [ARGUMENTS...]: GPUS processes of a script of this folder; see the scripts'
# --help for the environment variables. Does not return.
launch() {
    local gpus=$1 script=$2
    shift 2
    local rendezvous
    if (( ${NNODES:-1} == 1 )) && [[ -z "${PORT:-}" ]]; then
        rendezvous=(--standalone)
    else
        rendezvous=(
            --nnodes "${NNODES:-1}"
            --node_rank "${NODE_RANK:-0}"
            --master_addr "${MASTER_ADDR:-127.0.0.1}"
            --master_port "${PORT:-29500}"
        )
    fi
    if ! [[ "${MAX_RESTARTS:-0}" =~ ^[0-9]+$ ]]; then
        echo "MAX_RESTARTS=$MAX_RESTARTS is no number: how often may all processes start again?" >&2
        exit 2
    fi
    if (( 10#${MAX_RESTARTS:-0} )); then
        rendezvous+=(--max-restarts "$MAX_RESTARTS")
    fi
    local tools
    tools=$(dirname "${BASH_SOURCE[0]}")
    exec "${PYTHON:-python}" "$tools/dist_launch.py" "${rendezvous[@]}" \
        --nproc_per_node "$gpus" "$tools/$script" "$@"
}

# environment_help: the lines of a script's usage that tell what `launch` reads.
environment_help() {
    cat <<'TEXT'
Environment:
  NNODES       number of machines (default 1)
  NODE_RANK    number of this machine, from 0 (default 0)
  MASTER_ADDR  address of machine 0 (default 127.0.0.1)
  MAX_RESTARTS how often all processes are started again when one dies; a training then goes on from
               its last checkpoint (default 0)
  PORT         port of machine 0 (default: a free one on one machine, 29500 on several)
  PYTHON       interpreter (default python)
TEXT
}
