#!/usr/bin/env bash
# Makes the weights that predict attenuation maps (`spectac reconstruct --ac predicted`) and those that draw them
# (`--uncertainty`), and measures every route. About 20 minutes of one core for the patients, 20 each for the trainings,
# 8 for the routes, 10 for the deviations; resumes where it stopped.
# Usage: [PATIENTS=48] bench/mumap.sh WORKDIR
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
# The bridge has learnt of the first 80 of these.
maps random-80 80 60000 --protocol random --without matrix128
maps validation-random 12 500000 --protocol random --without matrix128

# The most likely map, in three stages, each from the last one's weights with the learning rate raised once more.
stage() { # MODEL COHORT NAME SLICES [OPTION...]
    local model=$1 random=$work/$2 run=$work/$3 slices=$4
    shift 4
    [ -f "$run/card.json" ] || spectac train "$model" --data "$work/hanoi" "$random" \
        --validation "$work/validation-random" -o "$run" --max-slices "$slices" "$@" \
        $([ -f "$run/state.pt" ] && echo --resume || true)
}
stage mumap random run 39712
stage mumap random run2 80000 --initial "$work/run/mumap64.safetensors"
stage mumap random run3 36000 --initial "$work/run2/mumap64.safetensors" --set optimiser.learning_rate=0.0008
cp "$work/run3/mumap64.safetensors" spectac_fast/weights/
cp "$work/run3/card.json" spectac_fast/weights/mumap64.json

# Maps drawn.
stage mumap-bridge random-80 bridge 110000 --compile
cp "$work/bridge/mumap-bridge64.safetensors" spectac_fast/weights/
cp "$work/bridge/card.json" spectac_fast/weights/mumap-bridge64.json

python -m bench routes --work "$work/routes" --patients "${PATIENTS:-48}"
python -m bench mumap_card
# How far the bridge's maps are to be spread, and what the deviations then hold.
python -m bench deviations --work "$work/deviations" --store
python -m bench bridge_card
