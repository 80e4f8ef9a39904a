#!/usr/bin/env bash
# Makes everything the project ships that is not source: rows, weights, demo study, tables and pictures.
# About 3 hours on 2 cores. Usage: bench/artefacts.sh WORKDIR   (resumes: finished parts are kept)
set -euo pipefail
work=$(realpath -m "$1")
cd "$(dirname "$0")/.."
mkdir -p "$work"
weights=spectac_fast/weights
PATH=$PWD/.venv/bin:$PATH

spectac phantom --cases 300 --seed 0      -o "$work/train"      --format npy
spectac phantom --cases 8   --seed 500000 -o "$work/validation" --format npy
spectac phantom --cases 24  --seed 600000 -o "$work/test"       --format npy
spectac phantom --cases 1   --seed 610008 -o "$work/demo"
python -m spectac_fast.data.demo "$work/demo/case-610008"

for row in identity scale linear; do
    spectac train "$row" --data "$work/train" -o "$work/rows"
    cp "$work/rows/$row.json" "$weights/"
done
# Two stages: everything alike, then the heart counting more. Wall-clock budgets: another machine gives other weights.
bridge=(spectac train bbdm --data "$work/train" --validation "$work/validation")
resume() { [ -f "$1/state.pt" ] && echo --resume || true; }
"${bridge[@]}" -o "$work/first" --max-minutes 58 $(resume "$work/first")
"${bridge[@]}" -o "$work/run" --recipe native64-heart --initial "$work/first/bbdm64.safetensors" --seed 1 \
    --max-minutes 24 $(resume "$work/run")
cp "$work/run/bbdm64.safetensors" "$weights/"
cp "$work/run/card.json" "$weights/bbdm64.json"

spectac evaluate --data "$work/test" --models identity,scale,linear,bbdm -o bench/results/quality
python -m bench cohort --data "$work/train" --pictures "$work/test" --causes 4
python -m bench kernels
spectac demo -o "$work/demo-out"
cp "$work/demo-out/stress.png" docs/demo-stress.png
