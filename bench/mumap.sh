#!/usr/bin/env bash
# Makes the weights that predict attenuation maps (`spectac reconstruct --ac predicted`) and measures every route.
# About 15 minutes of one core for the patients, MINUTES for the training, 8 for the routes; resumes where it stopped.
# Usage: [MINUTES=42] [PATIENTS=48] bench/mumap.sh WORKDIR
set -euo pipefail
work=$(realpath -m "$1")
cd "$(dirname "$0")/.."
mkdir -p "$work"
PATH=$PWD/.venv/bin:$PATH
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

maps() { # NAME CASES SEED [OPTION...]
    local name=$1 cases=$2 seed=$3
    shift 3
    spectac phantom --format maps --cases "$cases" --seed "$seed" -o "$work/$name" "$@"
}
maps hanoi 60 62000
maps random 140 60000 --protocol random --without matrix128
maps validation-random 12 500000 --protocol random --without matrix128

[ -f "$work/run/card.json" ] || spectac train mumap --data "$work/hanoi" "$work/random" \
    --validation "$work/validation-random" -o "$work/run" --max-minutes "${MINUTES:-42}" \
    $([ -f "$work/run/state.pt" ] && echo --resume || true)
cp "$work/run/mumap64.safetensors" spectac_fast/weights/
cp "$work/run/card.json" spectac_fast/weights/mumap64.json
python -m bench routes --work "$work/routes" --patients "${PATIENTS:-48}"
python -m bench mumap_card
