#!/usr/bin/env bash
# Makes the weights that denoise projections (`spectac reconstruct --denoise cunet`) and those that add views
# (`--views-by dudoss`), and measures what either changes of every route. About 4 minutes of one core for the patients,
# 2 and 3 for the trainings, 8 for the routes; resumes where it stopped.
# Usage: [PATIENTS=12] bench/views.sh WORKDIR
set -euo pipefail
work=$(realpath -m "$1")
cd "$(dirname "$0")/.."
mkdir -p "$work"
PATH=$PWD/.venv/bin:$PATH
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

views() { # NAME CASES SEED
    spectac phantom --projections --cases "$2" --seed "$3" -o "$work/$1"
}
views hanoi 32 40000
views validation 4 500000

for model in cunet dudoss; do
    run=$work/$model
    [ -f "$run/card.json" ] || spectac train "$model" --data "$work/hanoi" --validation "$work/validation" -o "$run" \
        $([ -f "$run/state.pt" ] && echo --resume || true)
done

# Whether they help is to be seen here before weights are copied to spectac_fast/weights; those that were measured first
# lie in bench/unfinished.
python -m bench routes --work "$work/routes" --patients "${PATIENTS:-12}" --protocols counts-quarter \
    --denoise "$work/cunet/cunet64.safetensors" -o bench/results/routes-counts
python -m bench routes --work "$work/routes" --patients "${PATIENTS:-12}" --protocols views30 \
    --views-by "$work/dudoss/dudoss64.safetensors" -o bench/results/routes-views
