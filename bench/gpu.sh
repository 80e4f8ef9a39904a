#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under ten minutes: build with CUDA, test, sanitize, measure.
#
#     bench/gpu.sh [folder for the results, default: bench/results] [folder of peers' wheels or sources]
#
# Written for a machine with Python 3.12, torch 2.11+cu130, Triton 3.6, nvcc 13 and compute-sanitizer, and no network:
# nothing is downloaded, and what is missing is skipped with a line saying so. This script has not been run on a GPU yet.
set -u
cd "$(dirname "$0")/.."
out=${1:-bench/results}
peers=(${2:+--peers "$2"})
mkdir -p "$out"
failed=0

# step SECONDS NAME COMMAND...: the limits below sum up to less than ten minutes.
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

step 120 build "${pip[@]}" -e .
step 20 listing python3 -m spectac_fast

# The tests of whatever has a CUDA kernel, and of the noise they share.
tests=(tests/kernels/test_philox.py)
for kernel in csrc/cuda/*.cu; do
    tests+=("tests/ops/test_$(basename "$kernel" .cu).py")
done
if python3 -c "import pytest" 2>/dev/null; then
    step 150 tests python3 -P -m pytest -p no:cacheprovider "${tests[@]}"
    step 40 large python3 -P -m pytest -p no:cacheprovider -m large -rs tests/kernels/test_large.py
else
    echo "== tests: pytest is not installed here"
fi

# Every sample of every operator; the caching allocator would hide overruns.
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck; do
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 step 30 "$tool" \
            compute-sanitizer --tool "$tool" --error-exitcode 1 python3 -m bench.speed.samples --device cuda
    done
else
    echo "== sanitizer: compute-sanitizer is not installed here"
fi

step 110 kernels python3 -m bench kernels --device cuda -o "$out" "${peers[@]}"
# A row takes its warm-up and this many seconds; what a cut run has measured is written.
step 55 latency python3 -m bench latency --device cuda --seconds 1 -o "$out"
step 10 times python3 -m bench quality --times --device cuda -o "$out/quality-cost"
exit "$failed"
