#!/usr/bin/env bash
# Trains every method of the comparison at its native64 recipe and makes the table of all of them.
# 20 minutes a run on 2 cores; stops and resumes at any point. Usage: [MINUTES=20] [THREADS=N] bench/table1.sh WORKDIR [RUN...]
# WORKDIR: of bench/artefacts.sh, whose cohorts it takes. RUN...: make only these; `table` makes the table of the runs that
# are finished. MINUTES: wall time of a run, the same for all. THREADS: of the CPU, default all.
set -euo pipefail
work=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
[ -z "${THREADS:-}" ] || export OMP_NUM_THREADS=$THREADS
# The first stage stands before the models between its latents; NAME-sN is another seed of NAME.
every=(vqgan regression bbdm pix2pix reggan unit cpdm cyclegan medgan ddpm palette lbbdm lbbdm-nocond ldm
    reggan-encoder-decoder regression-s1 regression-s2 bbdm-s1 bbdm-s2 table)
chosen=("$@")
[ $# -gt 0 ] || chosen=("${every[@]}")

train() { # RUN
    local run=$work/table1/$1 method=${1%%-*} seed=0 recipe=native64 options=()
    [ ! -f "$run/card.json" ] || return 0
    case $1 in
        *-s[0-9]) seed=${1##*-s} ;;
        *-*) recipe=native64-${1#*-} ;;
    esac
    [ "$method" != bbdm ] || recipe=native64-table # the shipped bbdm took three trainings and 900 patients
    case $method in lbbdm | cpdm | ldm) options+=(--first-stage "$work/table1/vqgan/vqgan64.safetensors") ;; esac
    [ ! -f "$run/state.pt" ] || options+=(--resume)
    spectac train "$method" --data "$work/train" --validation "$work/validation" -o "$run" --recipe "$recipe" \
        --seed "$seed" --max-minutes "${MINUTES:-20}" "${options[@]}"
}

table() {
    local files="" run
    for run in "${every[@]}"; do
        case $run in table | *-s[0-9] | *-*) continue ;; esac
        [ ! -f "$work/table1/$run/card.json" ] || [ "$run" = bbdm ] || files+=,$work/table1/$run/${run}64.safetensors
    done
    spectac evaluate --data "$work/test" --models "identity,scale,linear,bbdm$files" --normals "$work/train" \
        -o bench/results/table1
}

for run in "${chosen[@]}"; do
    if [ "$run" = table ]; then table; else train "$run"; fi
done
