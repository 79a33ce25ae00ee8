#!/usr/bin/env bash
# Builds the CUDA kernels for this machine's GPU, tests them, looks for wrong memory accesses and
# races, and times them, in BUDGET seconds at most (580 unless set; what would take longer is cut
# off). Run it in the checkout, with the project's Python first on PATH or in PYTHON. What it
# measured is left in ops/gpu_check/. What fails does not keep the rest from running, and is named
# at the end.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
results=${RESULTS:-ops/gpu_check}
budget=${BUDGET:-580}
failed=()
mkdir -p "$results"
export PYTHONPATH="$PWD:$PWD/ops" MSDA_BACKEND=compiled MAX_JOBS="${MAX_JOBS:-$(nproc)}"

# within SECONDS COMMAND...: interrupts what takes longer, or longer than the budget
within() {
  local most=$1 left=$((budget - SECONDS))
  shift
  [ "$left" -gt 0 ] || { echo "no time left for: $*"; return 124; }
  timeout --signal=INT --kill-after=10 "$((most < left ? most : left))" "$@"
}

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

echo '[1/5] build'
rm -f ops/msda/_cuda*.so  # an older build must not pass for this one
within 400 "$python" setup.py build_ext --inplace --force >"$results/build.log" 2>&1
"$python" - <<'PYTHON' || { tail -40 "$results/build.log" >&2; exit 1; }
import msda
print(msda.backend('cuda'))
assert msda.backend('cuda').name == 'compiled', 'the CUDA kernels were not built'
PYTHON
echo "built; $SECONDS s so far"

echo '[2/5] tests'
within 150 "$python" -m pytest -q -m cuda tests/msda/test_cuda.py 2>&1 |
  tee "$results/tests.log" || failed+=(tests)
echo "$SECONDS s so far"

echo '[3/5] memory accesses'
cat >"$results/small.py" <<'PYTHON'
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
        for method in ('reductions', 'tiles', 'sorted'):
            if (dtype, method) != (torch.float64, 'tiles'):
                ops.ms_deform_attn_fused_backward_cuda(grad, *inputs, method)
torch.cuda.synchronize()
PYTHON
sanitizer=$(command -v compute-sanitizer || command -v "$(dirname "$nvcc")/compute-sanitizer")

# sanitise TOOL: runs the above under a tool of compute-sanitizer
sanitise() {
  if [ -z "$sanitizer" ]; then
    echo 'compute-sanitizer is neither on PATH nor beside nvcc' | tee "$results/$1.log"
    failed+=("$1")
    return
  fi
  local filter=--kernel-regex  # its name in older versions
  "$sanitizer" --help | grep -q -e --kernel-name && filter=--kernel-name
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 within 90 "$sanitizer" --tool "$1" \
    --error-exitcode 1 "$filter" kns=msda "$python" "$results/small.py" 2>&1 |
    tee "$results/$1.log" | tail -3 || failed+=("$1")
  echo "compute-sanitizer --tool $1; $SECONDS s so far"
}
sanitise memcheck

echo '[4/5] benchmark'
within 240 "$python" ops/benchmark.py --device cuda --sizes S B T L --module \
  --dtypes float32 bfloat16 float16 --repeats 60 --csv "$results/benchmark.csv" \
  --chart "$results/benchmark.png" 2>&1 | tee "$results/benchmark.md" || failed+=(benchmark)
echo "$SECONDS s so far"

echo '[5/5] races and uninitialised memory'
sanitise racecheck
sanitise initcheck
echo "$SECONDS s in all"

if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all of it passed; see $results"
