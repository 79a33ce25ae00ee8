#!/usr/bin/env bash
# Builds the CUDA kernels for this machine's GPU, tests them, looks for wrong memory accesses and
# races, and times them. Run it in the checkout, with the project's Python first on PATH or in
# PYTHON. Takes some minutes; what it measured is left in ops/gpu_check/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
results=${RESULTS:-ops/gpu_check}
mkdir -p "$results"
export PYTHONPATH="$PWD:$PWD/ops" MSDA_BACKEND=compiled MAX_JOBS="${MAX_JOBS:-4}"

"$python" - <<'PYTHON'
import torch
assert torch.cuda.is_available(), 'there is no GPU that torch can use'
print(torch.cuda.get_device_name(), torch.version.cuda)
PYTHON
if ! command -v nvcc >/dev/null && [ ! -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
  echo 'there is no nvcc: put it on PATH, or set CUDA_HOME to the toolkit' >&2
  exit 1
fi

echo '[1/4] build'
"$python" setup.py build_ext --inplace >"$results/build.log" 2>&1 || {
  tail -40 "$results/build.log" >&2
  exit 1
}
"$python" - <<'PYTHON' || { tail -40 "$results/build.log" >&2; exit 1; }
import msda
print(msda.backend('cuda'))
assert msda.backend('cuda').name == 'compiled', 'the CUDA kernels were not built'
PYTHON

echo '[2/4] tests'
"$python" -m pytest -q -m cuda tests/msda 2>&1 | tee "$results/tests.log"

echo '[3/4] memory accesses, uninitialised memory and races'
cat >"$results/small.py" <<'PYTHON'
import torch
import msda
from tests.msda.backends import compiled, fused_inputs, grad_for
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    for channels in (12, 32, 71):
        inputs = fused_inputs(dtype, channels=channels, device='cuda')
        inputs[3][:, ::3, :, :, 1] = float('nan')
        grad = grad_for(inputs[0].cpu(), 21).cuda()
        for deterministic in (False, True):
            torch.use_deterministic_algorithms(deterministic)
            compiled.attend_fused(*inputs)
            compiled.attend_fused_backward(grad, *inputs)
torch.cuda.synchronize()
PYTHON
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck; do
    echo "compute-sanitizer --tool $tool"
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
      --kernel-regex kns=msda "$python" "$results/small.py" 2>&1 | tee "$results/$tool.log" | tail -3
  done
else
  echo 'compute-sanitizer is not on PATH: skipped' | tee "$results/memcheck.log"
fi

echo '[4/4] benchmark'
"$python" ops/benchmark.py --device cuda --sizes T S B L --dtypes float32 bfloat16 float16 \
  --repeats 100 --csv "$results/benchmark.csv" --chart "$results/benchmark.png" \
  | tee "$results/benchmark.md"
