#!/usr/bin/env bash
# Trains every method of the comparison at its native64 recipe and makes the table of all of them.
# About 5 hours on 2 cores, 20 minutes a model; stops and resumes at any point. Usage: bench/table1.sh WORKDIR [MODEL...]
# WORKDIR: of bench/artefacts.sh, whose cohorts it takes. MODEL...: train only these, and make no table.
set -euo pipefail
work=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
every=(regression pix2pix reggan unit cyclegan medgan ddpm palette vqgan lbbdm cpdm ldm)
chosen=("$@")
[ $# -gt 0 ] || chosen=("${every[@]}")

for model in "${chosen[@]}"; do
    run=$work/table1/$model
    [ -f "$run/card.json" ] && continue
    first_stage=()
    case $model in lbbdm | cpdm | ldm) first_stage=(--first-stage "$work/table1/vqgan/vqgan64.safetensors") ;; esac
    resume=()
    [ -f "$run/state.pt" ] && resume=(--resume)
    spectac train "$model" --data "$work/train" --validation "$work/validation" -o "$run" \
        "${first_stage[@]}" "${resume[@]}"
done
[ $# = 0 ] || exit 0

files=$(for model in "${every[@]}"; do printf ',%s' "$work/table1/$model/${model}64.safetensors"; done)
spectac evaluate --data "$work/test" --models "identity,scale,linear,bbdm$files" --normals "$work/train" "$work/more" \
    -o bench/results/table1
