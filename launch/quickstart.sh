#!/usr/bin/env bash
# From a bare checkout to trained weights, a Dice table and pictures, in one command.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash launch/quickstart.sh [--workdir RUN] [--config FILE[:VARIANT]] [--data ROOT] [further arguments of train]

Makes .venv at the repository root with the locked packages, trains on the embedded brain cohort
(nothing to download), evaluates on its validation cases (where the configuration holds none out, on
those it trained on), and says where the results are.
Without arguments: --config configs/iseg.py:quick --workdir runs/quickstart
A run that was cut off goes on from its last checkpoint when the command is given again.

Examples:
  bash launch/quickstart.sh
  bash launch/quickstart.sh --config.seed=1 --workdir runs/seed1
  PYTHON=/opt/python3.12/bin/python3 bash launch/quickstart.sh

All arguments of train: .venv/bin/python -m invseg_jax.train --help
TEXT
}

config=configs/iseg.py:quick
workdir=runs/quickstart
evaluate_arguments=()
rest=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --workdir | --config | --data)
            if (($# < 2)); then
                printf 'error: %s needs a value, see bash launch/quickstart.sh --help\n' "$1" >&2
                exit 2
            fi
            set -- "$1=$2" "${@:3}" # one spelling from here on: read again as --flag=value
            ;;
        --workdir=*) workdir=${1#*=}; shift ;;
        --config=*) config=${1#*=}; shift ;;
        --data=*) evaluate_arguments+=("$1"); shift ;;
        *) rest+=("$1"); shift ;;
    esac
done

source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
cd -- "$root" # relative paths in the arguments are meant from here, as configs/ and runs/ are

# (bash before 4.4 takes an empty array for an unset variable: hence the ${x[@]+…})
"$python" -m invseg_jax.train --config "$config" --workdir "$workdir" \
    ${evaluate_arguments[@]+"${evaluate_arguments[@]}"} ${rest[@]+"${rest[@]}"}
# Where nothing is held out there are no validation cases.
if "$python" -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["held_out"] != [])' \
    "$workdir/data.json" 2>/dev/null; then
    evaluate_arguments+=(--split train)
fi
"$python" -m invseg_jax.evaluate --workdir "$workdir" ${evaluate_arguments[@]+"${evaluate_arguments[@]}"}

# Says where the files of one kind are: $1 a title, the rest the conditions of find.
locate() {
    local title=$1 folder
    shift
    find "$workdir" -type f \( "$@" \) -exec dirname -- {} \; | sort -u | while IFS= read -r folder; do
        printf '  %-11s %s\n' "$title" "$folder"
    done
}

printf '\nResults:\n'
for file in summary.json cases.csv report.html; do
    if [[ -e $workdir/eval/$file ]]; then
        case $file in
            summary.json) title='Dice table' ;;
            cases.csv) title='each case' ;;
            report.html) title='report' ;;
        esac
        printf '  %-11s %s\n' "$title" "$workdir/eval/$file"
    fi
done
locate pictures -name '*.png'
locate 'label maps' -name '*.nii.gz'
