#!/usr/bin/env bash
# Builds the documentation site, in the same .venv as quickstart.sh.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash launch/docs.sh [--links] [arguments of sphinx-build]

Makes .venv at the repository root if needed and builds docs/ into docs/_build/html. Every warning is
an error: a reference that leads nowhere, a public name without a docstring, a page in no contents.
  --links    asks every address outside the site whether it is there; needs the network

Examples:
  bash launch/docs.sh
  bash launch/docs.sh -E        # builds all pages anew
TEXT
}

builder=html
arguments=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --links) builder=linkcheck; shift ;;
        *) arguments+=("$1"); shift ;;
    esac
done

source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
cd -- "$root"
# The lock holds Sphinx. An environment of a newer Python was made without it.
if ! "$python" -c 'import furo, myst_nb, sphinx_copybutton, sphinx_design' 2>/dev/null; then
    "$python" -m pip install --quiet --no-input --disable-pip-version-check --editable "$root[docs]"
fi

export JAX_PLATFORMS=cpu
"$python" -m sphinx --builder "$builder" --nitpicky --fail-on-warning --keep-going --quiet \
    ${arguments[@]+"${arguments[@]}"} docs "docs/_build/$builder"
printf 'docs: %s\n' "docs/_build/$builder/index.html"
