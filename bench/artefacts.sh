#!/usr/bin/env bash
# Makes everything the project ships that is not source: rows, weights, demo study, tables and pictures.
# About 12 hours on 2 cores. Usage: bench/artefacts.sh WORKDIR   (resumes: finished parts are kept)
set -euo pipefail
work=$(realpath -m "$1")
cd "$(dirname "$0")/.."
mkdir -p "$work"
weights=spectac_fast/weights
PATH=$PWD/.venv/bin:$PATH

spectac phantom --cases 300 --seed 0      -o "$work/train"      --format npy
spectac phantom --cases 600 --seed 300    -o "$work/more"       --format npy
spectac phantom --cases 24  --seed 500000 -o "$work/validation" --format npy
spectac phantom --cases 48  --seed 600000 -o "$work/test"       --format npy
# Looked at once, when everything was fixed; new weights need new ones (600048-600335 were those of earlier stages).
spectac phantom --cases 96  --seed 600336 -o "$work/unseen"     --format npy --ideal
spectac phantom --cases 96  --seed 600336 -o "$work/again"      --format npy --acquisition 1
# Many cameras and people; what is left out is never trained on, and shows what a model does with what it never saw.
spectac phantom --cases 300 --seed 0      -o "$work/random"     --format npy --protocol random --ideal \
    --without legp views30 high-diaphragm
spectac phantom --cases 184 --seed 40000  -o "$work/hanoi"      --format npy
# Whom the fourth stage served worst, beside more of everything.
spectac phantom --cases 240 --seed 300    -o "$work/random-2"   --format npy --protocol random \
    --without legp views30 high-diaphragm
spectac phantom --cases 50  --seed 40300  -o "$work/hanoi-2"    --format npy
hard=()
for one in dextrocardia:41000:50 implant:41100:60 arc360:41200:60 bmi40:41300:30 arms-down:41400:30 dilated:41500:30; do
    IFS=: read -r name seed cases <<< "$one"
    spectac phantom --cases "$cases" --seed "$seed" -o "$work/$name" --format npy --protocol "$name"
    hard+=("$work/$name")
done
# And for AC without its errors, beside more of all, inferior defects most.
spectac phantom --cases 400 --seed 540    -o "$work/random-3"   --format npy --protocol random --ideal \
    --without legp views30 high-diaphragm
spectac phantom --cases 120 --seed 40350  -o "$work/hanoi-3"    --format npy --ideal
both=()
for one in dextrocardia:41050:30 implant:41160:40 arc360:41260:40 bmi40:41330:30 arms-down:41430:30 dilated:41530:30 \
    inferior-defect:41600:80; do
    IFS=: read -r name seed cases <<< "$one"
    spectac phantom --cases "$cases" --seed "$seed" -o "$work/$name-3" --format npy --protocol "$name" --ideal
    both+=("$work/$name-3")
done
# And for both once more; those of the first cohort have no IDEAL, and stand for AC alone.
every=()
while IFS=: read -r name seed cases; do
    without=()
    [ "$name" = random ] && without=(--without legp views30 high-diaphragm)
    spectac phantom --cases "$cases" --seed "$seed" -o "$work/$name-$seed" --format npy --protocol "$name" "${without[@]}"
    every+=("$work/$name-$seed")
done << 'EOF'
random:1000:60
random:1060:150
hanoi:40500:100
hanoi:40600:100
hanoi:40700:160
hanoi:40860:140
hanoi:43000:120
hanoi:43200:66
hanoi:43300:24
inferior-defect:41680:140
arms-down:42100:50
implant:41860:50
western:41960:60
bmi40:42030:50
EOF
spectac phantom --cases 120 --seed 520000 -o "$work/judged"     --format npy --protocol random \
    --without legp views30 high-diaphragm
spectac phantom --cases 56  --seed 521000 -o "$work/calibrating" --format npy --protocol random \
    --without legp views30 high-diaphragm
spectac phantom --cases 1   --seed 610008 -o "$work/demo"
python -m spectac_fast.data.demo "$work/demo/case-610008"

for row in identity scale linear; do
    spectac train "$row" --data "$work/train" "$work/more" -o "$work/rows"
    cp "$work/rows/$row.json" "$weights/"
done
# Eleven stages: everything alike; then the heart counting more; then more patients, neighbouring slices and errors of
# segment size; then other cameras and people, of whom the network is told what headers say; then more of these and of
# whom it served worst; then the first camera's again, whose counts that stage had blurred; then AC without its errors
# as another target; then the mean of these weights and those before, which is nearer to AC than either and nearer to
# the image without errors than the earlier; then 1 270 patients more, and places of other uptake in the inferior wall;
# then the same, of whose places NC shows no more than scatter leaves; last the mean of these two, as before. Another
# machine gives other weights where the budget is of minutes.
launch=(spectac)
stage() { # NAME RECIPE BUDGET INITIAL COHORT...
    local run=$work/$1 recipe=$2 budget=$3 initial=$4
    shift 4
    # shellcheck disable=SC2086
    "${launch[@]}" train bbdm --data "$@" --validation "$work/validation" -o "$run" --recipe "$recipe" $budget \
        ${initial:+--initial "$work/$initial/bbdm64.safetensors"} $([ -f "$run/state.pt" ] && echo --resume || true)
}
stage first native64         "--max-minutes 58"     ""     "$work/train"
stage heart native64-heart   "--max-minutes 24"     first  "$work/train"
stage third native64-context "--max-minutes 60"     heart  "$work/train" "$work/more"
stage facts native64-facts   "--max-slices 416000"  third  "$work/random" "$work/hanoi"
stage more  native64-facts   "--max-slices 352000 --set optimiser.learning_rate=0.0003" facts \
    "$work/random-2" "$work/hanoi-2" "${hard[@]}"
stage run   native64-facts   "--max-slices 96000 --set optimiser.learning_rate=0.0002" more \
    "$work/random-2" "$work/hanoi" "$work/hanoi-2" "${hard[@]}"
stage ideal native64-ideal  "--max-slices 270000"   run \
    "$work/random-3" "$work/hanoi-3" "${both[@]}"
python -m bench mean "$work/ideal/bbdm64.safetensors" "$work/run/bbdm64.safetensors" -o "$work/mean/bbdm64.safetensors"
launch=(torchrun --nproc-per-node 2 -m spectac_fast)
everybody=("${every[@]}" "$work/random-3" "$work/hanoi-3" "${both[@]}")
OMP_NUM_THREADS=1 stage contrast native64-contrast "--max-slices 190000 --set data.uptake.filled_share=1.0" mean \
    "${everybody[@]}"
OMP_NUM_THREADS=1 stage filled native64-contrast "--max-slices 340000" contrast "${everybody[@]}"
python -m bench mean "$work/filled/bbdm64.safetensors" "$work/contrast/bbdm64.safetensors" \
    -o "$work/shipped/bbdm64.safetensors"
cp "$work/shipped/bbdm64.safetensors" "$weights/"
cp "$work/shipped/card.json" "$weights/bbdm64.json"

spectac phantom --cases 64 --seed 40000   -o "$work/normals"    --format npy
python -m bench normals --data "$work/normals" --store
python -m bench foreign --train "$work/random-3" "$work/hanoi-3" --stride 3 --spread-stride 16 \
    --data "$work/validation" --store
python -m bench fields --data "$work/validation" --train "$work/normals" --store
python -m bench protocols --work "$work/protocols"
python -m bench expected --work "$work/protocols" --random "$work/judged" --store
python -m bench counts --data "$work/judged"
python -m bench harm
python -m bench trial --work "$work/trial" --normals "$work/judged" --unseen views30,legp
# Other patients than those that errors are expected by; of them those whose field is whole: what is cut `correct` fills
# in first.
python - "$work/calibrating" "$work/calibrating-whole" << 'EOF'
import json
import sys
from pathlib import Path

import numpy as np

source, target = map(Path, sys.argv[1:])
index = json.loads((source / "index.json").read_text())
whole = [k for k, case in enumerate(index["cases"]) if case["protocol"]["field"]["outside"] == "kept"]
target.mkdir(exist_ok=True)
np.save(target / "cohort.npy", np.load(source / "cohort.npy", mmap_mode="r")[whole])
(target / "index.json").write_text(json.dumps(index | {"cases": [index["cases"][k] for k in whole]}))
EOF
python -m bench calibration --data "$work/calibrating-whole" --test "$work/unseen" --patients 28 --samples 16 \
    --combined 4 --protocols "$work"/trial/*-612000-24 --each 6 --store
python -m bench explain --data "$work/validation"
# Means of samples of all patients would take an hour: bench/table1.sh means has them for a few.
spectac evaluate --data "$work/unseen" --models identity,scale,linear,bbdm --samples 1 \
    --normals "$work/hanoi-3" "$work/normals" -o bench/results/quality
python -m bench repeat --data "$work/unseen" --again "$work/again" --normals "$work/hanoi-3" "$work/normals"
python -m bench cohort --data "$work/train" --pictures "$work/test" --causes 4
python -m bench clinical --data "$work/test" --normals "$work/hanoi-3" "$work/normals" --work "$work/clinical"
python -m bench kernels
if grep -q avx512f /proc/cpuinfo; then python -m bench kernels --isa avx2; fi
# Chooses the numbers of evaluations that the recipes' "defaults" name; finished parts are kept.
python -m bench quality --data "$work/validation" --work "$work/quality"
bench/distill.sh "$work"
python -m bench quality --times
python -m bench latency
python -m bench readme
python docs/front.py
