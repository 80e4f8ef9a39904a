#!/usr/bin/env bash
# Trains every method of the comparison at its native64 recipe and makes the table of all of them.
# Budgets are the recipes', in slices seen: about 45 core-hours in all; stops and resumes at any point.
# Usage: [MINUTES=15] [THREADS=N] bench/table1.sh WORKDIR [RUN...]
# WORKDIR: of bench/artefacts.sh, whose cohorts it takes. RUN...: make only these; `table` and `means` make the tables of the
# runs that are finished. MINUTES: wall time of a run in place of its recipe's budget; the table says each one's.
# THREADS: of the CPU, default all.
set -euo pipefail
work=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
[ -z "${THREADS:-}" ] || export OMP_NUM_THREADS=$THREADS
# The first stage stands before the models between its latents; NAME-sN is another seed of NAME.
every=(vqgan regression bbdm pix2pix reggan unit cpdm cyclegan medgan ddpm palette lbbdm lbbdm-nocond ldm
    reggan-unet reggan-encoder-decoder pix2pix-residual medgan-residual reggan-residual cyclegan-residual unit-attenuation unit-residual
    regression-s1 regression-s2 bbdm-s1 bbdm-s2 table means)
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
        --seed "$seed" ${MINUTES:+--max-minutes "$MINUTES"} "${options[@]}"
}

weights() { # RUN: its weight file, and with + those of its other seeds
    local found="" run
    for run in "$work/table1/$1" "$work/table1/$1"-s[0-9]; do
        [ ! -f "$run/card.json" ] || found+=+$run/${1%%-*}64.safetensors
    done
    echo "${found#+}"
}

table() { # NAME ARGUMENT...: the table of all finished runs
    local name=$1 models=identity,scale,linear,bbdm-shipped=spectac_fast/weights/bbdm64.safetensors run files
    shift
    for run in "${every[@]}"; do
        case $run in table | means | *-s[0-9]) continue ;; esac
        files=$(weights "$run")
        [ -z "$files" ] || models+=,$run=$files
    done
    spectac evaluate --data "$work/test" --models "$models" --normals "$work/train" --noise-steps 10 \
        -o "bench/results/$name" "$@"
}

for run in "${chosen[@]}"; do
    case $run in
        table) table table1 --samples 1 --cases "${CASES:-24}" ;;
        # Means of samples of every model that draws would take hours for all patients.
        means) table table1-means --samples 4 --cases 4 ;;
        *) train "$run" ;;
    esac
done
