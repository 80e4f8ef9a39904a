#!/usr/bin/env bash
# Distils the shipped bridge, shows what the draw of t is worth, and puts both beside its few-step solvers.
# Two trainings start from the shipped weights (one evaluation; the nodes of its samples), two from nothing, for as many
# steps, with t uniform in lambda and in t. Usage: [STEPS=1000] [THREADS=N] bench/distill.sh WORKDIR [RUN...]
# WORKDIR: of bench/artefacts.sh, whose cohorts and finished parts it takes. RUN...: only these of student, nodes, table,
# uniform, rows. Stops and resumes at any point.
set -euo pipefail
work=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
[ -z "${THREADS:-}" ] || export OMP_NUM_THREADS=$THREADS
every=(student nodes table uniform rows)
chosen=("$@")
[ $# -gt 0 ] || chosen=("${every[@]}")

train() { # RUN
    local run=$work/distil/$1 options=()
    [ ! -f "$run/card.json" ] || return 0
    case $1 in student | nodes) options+=(--initial spectac_fast/weights/bbdm64.safetensors) ;; esac
    [ ! -f "$run/state.pt" ] || options+=(--resume)
    spectac train bbdm --data "$work/train" "$work/more" --validation "$work/validation" -o "$run" \
        --recipe "native64-$1" --steps "${STEPS:-1000}" "${options[@]}"
}

rows() {
    local run also=()
    [ ! -f "$work/table1/regression/card.json" ] || also+=("regression=$work/table1/regression/regression64.safetensors")
    for run in "${every[@]}"; do
        [ ! -f "$work/distil/$run/card.json" ] || also+=("$run=$work/distil/$run/bbdm64.safetensors")
    done
    python -m bench quality --data "$work/validation" --work "$work/quality" --also "${also[@]}"
    python -m bench curve "lambda=$work/distil/table/bbdm64.safetensors" \
        "uniform=$work/distil/uniform/bbdm64.safetensors" --data "$work/validation"
}

for run in "${chosen[@]}"; do
    if [ "$run" = rows ]; then rows; else train "$run"; fi
done
