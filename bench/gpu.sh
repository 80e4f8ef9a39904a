#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under nine minutes: build with CUDA, test, sanitize, measure.
#
#     bench/gpu.sh [folder for the results, default: bench/results]
#
# Written for a machine with Python 3.12, torch 2.11+cu130, Triton 3.6, nvcc 13 and compute-sanitizer, and no network:
# nothing is downloaded, and what is missing is skipped with a line saying so. This script has not been run on a GPU yet.
set -u
cd "$(dirname "$0")/.."
out=${1:-bench/results}
mkdir -p "$out"
failed=0

step() {
    local limit=$1 name=$2
    shift 2
    local start=$SECONDS
    echo "== $name"
    timeout "$limit" "$@" >"$out/$name.log" 2>&1
    local status=$?
    tail -n 15 "$out/$name.log"
    echo "== $name: status $status, $((SECONDS - start)) s"
    [ "$status" = 0 ] || failed=1
}

export SPECTAC_FAST_CUDA=1 TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST:-9.0}" MAX_JOBS="${MAX_JOBS:-8}"
pip=(python3 -m pip install -q --no-index --no-build-isolation --no-deps --break-system-packages)

step 150 build "${pip[@]}" -e .
step 30 listing python3 -m spectac_fast

kernels=(tests/test_sampler_step.py tests/test_philox.py)
if python3 -c "import pytest" 2>/dev/null; then
    step 180 tests python3 -P -m pytest -x -p no:cacheprovider "${kernels[@]}"
else
    echo "== tests: pytest is not installed here"
fi

# memcheck and racecheck of every sample call; the caching allocator would hide overruns.
check='
import torch
from spectac_fast._op import Op
from spectac_fast.ops import sampler_step
for op in Op.all():
    for call in op.samples(torch.device("cuda")):
        sampler_step(**call)
torch.cuda.synchronize()
'
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 step 60 "$tool" \
            compute-sanitizer --tool "$tool" --error-exitcode 1 python3 -P -c "$check"
    done
else
    echo "== sanitizer: compute-sanitizer is not installed here"
fi

step 90 kernels python3 -m bench kernels --device cuda -o "$out"
exit "$failed"
