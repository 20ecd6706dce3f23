#!/usr/bin/env bash
# The tables of `python -m invseg_jax.benchmark` that a GPU changes, on one GPU, in one command.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash launch/gpu_benchmark.sh [--output DIR] [--python PYTHON] [--quick] [STEP ...]

Measures memory, speed, drift, convolutions, PyTorch peers and whole brain volumes on the GPU of this
machine, and writes a table (STEP.txt) and its rows (STEP.json) for each step. A step that fails does not
stop the others. Without a GPU the same runs on the CPU; there take --quick.

  --output DIR      folder of the results [runs/gpu_benchmark]
  --python PYTHON   an interpreter with jax for the GPU, flax and optax (torch, iunets and memcnn for the
                    peers), used as it is; by default .venv is made, with the extras cuda and benchmarks
  --quick           small sizes, to see that everything runs
  STEP              which of: memory memory-bfloat16 slabs speed speed-bfloat16 drift conv peers volume
                    volume-bfloat16 volume-deep [all]

Examples:
  bash launch/gpu_benchmark.sh
  bash launch/gpu_benchmark.sh --python /opt/jax/bin/python --output results volume peers
TEXT
}

# What each step runs; the sizes are for a GPU. --quick takes the benchmarks' own small ones.
declare -A arguments=(
    [memory]="memory --subjects chain network --network-size 96"
    [memory-bfloat16]="memory --subjects chain network --network-size 96 --precision bfloat16"
    [slabs]="slabs --size 128"
    [speed]="speed --size 96"
    [speed-bfloat16]="speed --size 96 --precision bfloat16"
    [drift]="drift"
    [conv]="conv"
    [peers]="peers --size 96"
    [volume]="volume"
    [volume-bfloat16]="volume --precision bfloat16"
    [volume-deep]="volume --couplings 8"
)
order=(memory memory-bfloat16 slabs speed speed-bfloat16 drift conv peers volume volume-bfloat16 volume-deep)

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

output=runs/gpu_benchmark
python=
quick=()
steps=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --output | --python)
            if (($# < 2)); then fail "$1 needs a value, see bash launch/gpu_benchmark.sh --help"; fi
            set -- "$1=$2" "${@:3}"
            ;;
        --output=*) output=${1#*=}; shift ;;
        --python=*) python=${1#*=}; shift ;;
        --quick) quick=(--quick); shift ;;
        *)
            if [[ $1 == -* || -z ${arguments[$1]:-} ]]; then fail "no step is called '$1'; there are ${order[*]}"; fi
            steps+=("$1")
            shift
            ;;
    esac
done
if ((${#steps[@]} == 0)); then steps=("${order[@]}"); fi

if [[ -z $python ]]; then
    source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
    prepare_environment
    extras=benchmarks
    if type -P nvidia-smi >/dev/null; then extras=cuda,benchmarks; fi
    "$python" -m pip install --quiet --no-input --disable-pip-version-check --editable "$root[$extras]"
else
    python=$(type -P -- "$python") || fail "--python $python: there is no such program"
    if [[ $python != /* ]]; then python=$PWD/$python; fi # another folder is entered below
    root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
fi
mkdir -p -- "$output"
output=$(cd -- "$output" && pwd -P)
cd -- "$root" # where the package is found, installed or not

if type -P nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv | tee "$output/gpu.csv"
fi
failed=()
for step in "${steps[@]}"; do
    read -r -a words <<<"${arguments[$step]}"
    if ((${#quick[@]})); then # without the sizes
        words=("${words[0]}" --quick)
        if [[ $step == *-bfloat16 ]]; then words+=(--precision bfloat16); fi
        if [[ $step == memory* ]]; then words+=(--subjects chain); fi
    fi
    printf '\n=== %s: python -m invseg_jax.benchmark %s\n' "$step" "${words[*]}"
    begun=$SECONDS
    if "$python" -m invseg_jax.benchmark "${words[@]}" --json "$output/$step.json" | tee "$output/$step.txt"; then
        printf '=== %s: %s s\n' "$step" "$((SECONDS - begun))"
    else
        failed+=("$step")
    fi
done
printf '\nResults: %s\n' "$output"
if ((${#failed[@]})); then
    printf 'error: failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
