#!/usr/bin/env bash
# Times our LBBDM-f8 against the published code itself, run from a checkout of it, and checks that both give one image.
# Usage: bench/published.sh CHECKOUT [ARGUMENT...]    CHECKOUT: of github.com/xuekt98/BBDM; nothing else may be running.
# The published modules need einops and tqdm; of Lightning they use torch's own module here.
set -euo pipefail
checkout=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
export TQDM_DISABLE=1
exec python -m bench published_code --checkout "$checkout" "$@"
