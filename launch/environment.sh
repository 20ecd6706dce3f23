# The Python environment that quickstart.sh and test.sh share: .venv at the repository root, with the
# packages of requirements/py311.lock.txt. This file is sourced, by a script that has set -euo pipefail.
#
#   prepare_environment     leaves a working .venv and sets $python to its interpreter
#
# PYTHON=/path/to/python picks the interpreter to build .venv from (3.11 or newer). The lock holds for
# Python 3.11; a newer one gets the newest versions that pyproject.toml allows.
#
# A second call with nothing changed only reads a few files. An installation that was cut off is begun
# again from an empty .venv; two calls at once take turns where flock exists.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
python=$venv/bin/python
lock_file=$root/requirements/py311.lock.txt
extras=demo,test,lint

say() { printf 'environment: %s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# Prints the version (3.11) of interpreter $1 if it can build our environment, or fails.
usable_version() {
    "$1" -c 'if True:
        import sys, ensurepip, venv
        if sys.version_info < (3, 11): sys.exit(1)
        print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Sets $base and $version: the interpreter to build from. 3.11 comes first, since the lock is made for it.
find_python() {
    local name
    base= version=
    if [[ -n ${PYTHON:-} ]]; then
        base=$(type -P -- "$PYTHON") && version=$(usable_version "$base") ||
            fail "PYTHON=$PYTHON is no Python 3.11 or newer with the venv and ensurepip modules; name another or unset PYTHON"
        return
    fi
    for name in python3.11 python3.12 python3.13 python3.14 python3 python; do
        while IFS= read -r base; do
            if version=$(usable_version "$base"); then return; fi
        done < <(type -aP -- "$name")
    done
    fail "found no Python 3.11 or newer with the venv and ensurepip modules on the PATH;" \
        "install one (python3.11 and python3.11-venv on Debian or Ubuntu) or set PYTHON=/path/to/python3.11"
}

# The version (3.11) that .venv was made with, or nothing.
venv_version() {
    sed -n 's/^version *= *\([0-9]*\.[0-9]*\).*/\1/p' "$venv/pyvenv.cfg" 2>/dev/null || true
}

# What .venv must hold, in two lines: where and with which Python, then the digest of what is installed.
wanted_stamp() {
    printf '%s Python %s\n' "$root" "$1"
    cat -- "$lock_file" "$root/pyproject.toml" "$root/launch/environment.sh" |
        if type -P sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

# True if .venv holds everything; costs some hundredths of a second.
is_ready() {
    [[ -n $version && ! -e $venv/.installing && -e $venv/.installed ]] &&
        [[ $(<"$venv/.installed") == "$(wanted_stamp "$version")" ]] &&
        "$python" -c '' 2>/dev/null
}

# True if packages can be installed into .venv as it stands: it was made here, for this Python, to the end.
is_sound() {
    local made_for=
    if [[ -e $venv/.installed ]]; then IFS= read -r made_for <"$venv/.installed" || true; fi
    [[ ! -e $venv/.installing && -n $version && $(venv_version) == "$version" ]] &&
        [[ -z $made_for || $made_for == "$root Python $version" ]] && # its scripts name its place
        usable_version "$python" >/dev/null &&
        "$python" -m pip --version &>/dev/null
}

pip_install() {
    "$python" -m pip install --quiet --quiet --no-input --disable-pip-version-check --progress-bar off \
        --log "$venv/install.log" "$@" ||
        fail "pip could not install the packages: the reason stands above and in $venv/install.log; run again when it is mended"
}

make_venv() {
    rm -rf -- "$venv.old"
    if [[ -e $venv || -L $venv ]]; then
        say "replacing a .venv that is unfinished, moved, broken or of another Python"
        mv -- "$venv" "$venv.old" # in one move: a half-deleted .venv could pass for a sound one
    fi
    say "making .venv with Python $version ($base)"
    mkdir -- "$venv"
    touch -- "$venv/.installing"
    "$base" -m venv "$venv" || fail "$base could not make $venv: the reason stands above"
    rm -rf -- "$venv.old"
}

install() {
    if ! is_sound; then
        if [[ -z $base ]]; then find_python; fi
        make_venv
    fi
    touch -- "$venv/.installing"
    rm -f -- "$venv/.installed"
    if [[ $version == 3.11 ]]; then
        say "installing the locked packages (some 300 MB to fetch the first time)"
        pip_install --requirement "$lock_file"
        # With the locked setuptools: an isolated build would fetch one that no lock names.
        pip_install --no-deps --no-build-isolation --editable "$root"
    else
        say "installing the newest packages that pyproject.toml allows (some 300 MB to fetch the first time)"
        pip_install --editable "$root[$extras]"
    fi
    wanted_stamp "$version" >"$venv/.installed.new"
    mv -f -- "$venv/.installed.new" "$venv/.installed"
    rm -f -- "$venv/.installing"
    say "ready after $SECONDS s"
}

prepare_environment() {
    local base= version
    version=$(venv_version)
    if [[ -n ${PYTHON:-} ]]; then find_python; fi
    if is_ready; then return; fi
    if type -P flock >/dev/null; then
        exec 9>"$venv.lock"
        if ! flock --nonblock 9; then
            say "another run is installing: waiting for it"
            flock 9 || say "this file system has no locks: going on without"
        fi
        if [[ -z $base ]]; then version=$(venv_version); fi # the other run may have made it
        is_ready || install
        exec 9>&-
    else
        install
    fi
}
