#!/usr/bin/env bash
# Builds the CUDA kernels for this machine's GPU, tests them and mmcv's operators, looks for wrong
# memory accesses and races, and times them, in BUDGET seconds at most (580 unless set; what would
# take longer is cut off). Run it in the checkout, with the project's Python first on PATH or in
# PYTHON. SIZES names the models whose shapes are timed (S B T L). WHEELS may name a folder of wheels that this Python lacks (mmcv, deformops): they are
# installed beside the results. What it measured is left in ops/gpu_check/.
# What fails, is cut off or cannot run (without mmcv its operators cannot) does not keep the rest from
# running, and is named at the end. Exit status: 1 if something failed, else 2 if something did not
# run, else 0.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python}
results=${RESULTS:-ops/gpu_check}
budget=${BUDGET:-580}
failed=()
not_run=()
mkdir -p "$results" && results=$(cd "$results" && pwd) || exit 1
export PYTHONPATH="$PWD:$PWD/ops" MSDA_BACKEND=compiled MAX_JOBS="${MAX_JOBS:-$(nproc)}"

# within SECONDS COMMAND...: interrupts what takes longer, or longer than the budget
within() {
  local most=$1 left=$((budget - SECONDS))
  shift
  [ "$left" -gt 0 ] || { echo "no time left for: $*"; return 124; }
  timeout --signal=INT --kill-after=10 "$((most < left ? most : left))" "$@"
}

# verdict NAME: files the status of the command before it (124 or 137: cut off) under NAME
verdict() {
  case $? in
    0) ;;
    124 | 137) not_run+=("$1 (cut off)") ;;
    *) failed+=("$1") ;;
  esac
}

if [ -n "${WHEELS:-}" ]; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade \
    --target "$results/site" "$WHEELS"/*.whl || exit 1
  export PYTHONPATH="$PYTHONPATH:$results/site"
fi

"$python" - <<'PYTHON' | tee "$results/machine.txt" || exit 1
import sys, torch
if not torch.cuda.is_available():
    sys.exit('there is no GPU that torch can use')
print(torch.cuda.get_device_name(), torch.version.cuda, torch.__version__)
PYTHON
nvcc=$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")
if [ ! -x "$nvcc" ]; then
  echo 'there is no nvcc: put it on PATH, or set CUDA_HOME to the toolkit' >&2
  exit 1
fi

echo '[1/6] build'
rm -f ops/msda/_cuda*.so  # an older build must not pass for this one
within 400 "$python" setup.py build_ext --inplace --force >"$results/build.log" 2>&1
"$python" - <<'PYTHON' || { tail -40 "$results/build.log" >&2; exit 1; }
import msda
print(msda.backend('cuda'))
assert msda.backend('cuda').name == 'compiled', 'the CUDA kernels were not built'
PYTHON
echo "built; $SECONDS s so far"

# tests NAME SECONDS PATH MODULES: those that need a GPU, where MODULES can be imported
tests() {
  local missing
  if missing=$(within 60 "$python" -c "import pytest, $4" 2>&1); then
    within "$2" "$python" -m pytest -q -rfEs -o addopts= -m cuda "$3" 2>&1 | tee "$results/$1.log"
    verdict "$1"
    tail -1 "$results/$1.log" | grep -q skipped && not_run+=("some of $1: see $results/$1.log")
  else
    missing=${missing##*$'\n'}
    echo "$1: not run: $missing" | tee "$results/$1.log"
    not_run+=("$1 ($missing)")
  fi
  echo "$SECONDS s so far"
}
echo '[2/6] tests of the kernels'
tests tests_msda 150 tests/msda/test_cuda.py msda

echo "[3/6] tests of mmcv's operators"
tests tests_mmcv_ops 100 tests/mmcv_ops 'mmcv_ops, mmcv.ops'

echo '[4/6] memory accesses, races and uninitialised memory'
cat >"$results/small.py" <<'PYTHON'
import sys
import torch
import msda
from tests.msda.backends import fused_inputs, grad_for

ops = torch.ops.msda
maps = [(8, 9), (4, 5), (2, 3)]
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    for channels in (12, 32, 71):
        inputs = fused_inputs(dtype, shapes=maps, channels=channels, queries=98, device='cuda')
        inputs[3][:, ::3, :, :, 1] = float('nan')
        grad = grad_for(inputs[0].cpu(), 98).to('cuda')
        ops.ms_deform_attn_fused(*inputs)
        for method in sys.argv[1:]:
            if (dtype, method) != (torch.float64, 'tiles'):
                ops.ms_deform_attn_fused_backward_cuda(grad, *inputs, method)
torch.cuda.synchronize()
PYTHON
sanitizer=$(command -v compute-sanitizer || command -v "$(dirname "$nvcc")/compute-sanitizer")

# sanitise TOOL METHODS...: runs the above under a tool of compute-sanitizer
sanitise() {
  local tool=$1
  shift
  if [ -z "$sanitizer" ]; then
    echo 'compute-sanitizer is neither on PATH nor beside nvcc' | tee "$results/$tool.log"
    not_run+=("$tool (no compute-sanitizer)")
    return
  fi
  local filter=--kernel-regex  # its name in older versions
  "$sanitizer" --help | grep -q -e --kernel-name && filter=--kernel-name
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 within 90 "$sanitizer" --tool "$tool" \
    --error-exitcode 1 "$filter" kns=msda "$python" "$results/small.py" "$@" 2>&1 |
    tee "$results/$tool.log" | tail -3
  verdict "$tool"
  echo "compute-sanitizer --tool $tool; $SECONDS s so far"
}
sanitise memcheck reductions tiles sorted
sanitise racecheck reductions tiles sorted
sanitise initcheck reductions tiles  # it does not see what torch's sort writes

export DEFORMOPS_COMPILE=${DEFORMOPS_COMPILE:-fallback}  # where it is installed, at its first call

# benchmark NAME ARGUMENTS...: a table, numbers and a chart
benchmark() {
  local name=$1
  shift
  # shellcheck disable=SC2086  # the sizes are words
  within 240 "$python" ops/benchmark.py --device cuda --sizes ${SIZES:-S B T L} "$@" \
    --dtypes float32 bfloat16 float16 --repeats 60 --csv "$results/$name.csv" \
    --chart "$results/$name.png" 2>&1 | tee "$results/$name.md"
  verdict "$name"
  echo "$SECONDS s so far"
}
echo "[5/6] benchmark: the GPU's own time"
benchmark benchmark_graphs --graphs
echo '[6/6] benchmark: as Python calls it'
benchmark benchmark --module

[ ${#not_run[@]} -eq 0 ] || printf 'not run: %s\n' "${not_run[@]}"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
if [ ${#not_run[@]} -gt 0 ]; then
  echo "the rest passed; see $results"
  exit 2
fi
echo "all of it passed; see $results"
