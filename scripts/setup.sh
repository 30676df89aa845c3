#!/usr/bin/env bash
# Makes the environment that this project runs in. Rerunning it takes seconds.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: scripts/setup.sh [--legacy] [--python PATH] [--quiet]

  (default)      .venv: Python 3.11 or later with fairseq-fixed, as requirements/lock.txt pins it
  --legacy       .venv-legacy: Python 3.10 or 3.9 with official fairseq 0.12.2 (lock-legacy.txt)
  --python PATH  the Python to make it with; by default one is looked for in PATH, pyenv and uv
  --quiet        print nothing where there is nothing to do
EOF
}

die() { # die STATUS MESSAGE
    printf 'setup: %s\n' "$2" >&2
    exit "$1"
}

legacy=no
quiet=no
python=
while [ $# -gt 0 ]; do
    case $1 in
        --legacy) legacy=yes ;;
        --quiet) quiet=yes ;;
        --python)
            [ $# -ge 2 ] || die 2 "--python needs the path of a Python"
            python=$2
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die 2 "unknown argument $1; scripts/setup.sh --help lists what there is" ;;
    esac
    shift
done

if [ -n "$python" ]; then
    found=$(command -v -- "$python") || die 2 "--python $python: no such program"
    case $found in
        /*) python=$found ;;
        *) python=$PWD/$found ;;
    esac
fi

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)

if [ $legacy = yes ]; then
    name=.venv-legacy
    locks=(requirements/lock-legacy.txt)
    fairseq=fairseq
    minutes='a minute'
    wanted='Python 3.10 or 3.9'
    range='(3, 9) <= v < (3, 11)'
    versions=(3.10 3.9)
else
    name=.venv
    locks=(requirements/lock.txt requirements/lock-dev.txt)
    fairseq=fairseq-fixed
    minutes='2 minutes'
    wanted='Python 3.11 or later'
    range='(3, 11) <= v'
    versions=(3.11 3.12 3.13)
fi
venv=$root/$name
log=$venv/setup.log
stamp=$venv/setup.stamp

# What a shell adds to Python's path has no place in this environment.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

pinned() { # pinned NAME: its version in the lock
    sed -n "s/^$1==//p" "${locks[0]}"
}

# ---- which Python

probe() { # probe PYTHON: "ok VERSION PATH", "lacks PATH: WHAT", or nothing where it does not fit
    "$1" - 2>/dev/null <<EOF || true
import os, sys, sysconfig
v = sys.version_info[:2]
if $range:
    try:
        import ensurepip, venv
        lack = "" if os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")) else "dev"
    except ImportError:
        lack = "venv"
    if lack:
        print("lacks %s: python%d.%d-%s" % (sys.executable, v[0], v[1], lack))
    else:
        print("ok %s %s" % (sys.version.split()[0], sys.executable))
EOF
}

candidates() { # one path a line, the best first
    local version path
    for version in "${versions[@]}"; do
        type -aP "python$version" || true
        for path in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version"{,.*,-dev}/bin/python; do
            if [ -x "$path" ]; then printf '%s\n' "$path"; fi
        done
        if command -v uv >/dev/null; then
            uv python find --no-project --no-python-downloads "$version" 2>/dev/null || true
        fi
    done
    type -aP python3 || true
}

choose_python() { # sets python and python_version
    local path answer lacks=
    if [ -n "$python" ]; then
        answer=$(probe "$python")
        case $answer in
            ok\ *) ;;
            lacks\ *) die 2 "$python cannot make an environment: install ${answer##*: } first" ;;
            *) die 2 "$python is not $wanted" ;;
        esac
    else
        answer=
        while IFS= read -r path; do
            answer=$(probe "$path")
            case $answer in
                ok\ *) break ;;
                lacks\ *) lacks=${answer#lacks } ;;
            esac
            answer=
        done < <(candidates)
    fi
    if [ -z "$answer" ] && [ -n "$lacks" ]; then
        die 2 "${lacks%%: *} cannot make an environment: install ${lacks##*: } (Debian, Ubuntu: apt-get install ${lacks##*: }), or name another Python with --python PATH"
    elif [ -z "$answer" ]; then
        die 2 "$wanted was not found in PATH, pyenv or uv: install it (uv python install ${versions[0]}, or pyenv install ${versions[0]}), or name one with --python PATH"
    fi
    answer=${answer#ok }
    python_version=${answer%% *}
    python=${answer#* }
}

# ---- what exists already

usable() { # does the folder hold an environment of the right Python, made in this very place?
    [ -x "$venv/bin/python" ] && grep -qF -- "$venv" "$venv/bin/activate" 2>/dev/null || return 1
    python_version=$("$venv/bin/python" -I -c '
import sys
v = sys.version_info[:2]
assert '"$range"'
import pip
print(sys.version.split()[0])' 2>/dev/null) || return 1
    [ -z "$python" ] || [ "$(probe "$python" | cut -d' ' -f2)" = "$python_version" ]
}

fingerprint() { # of all that this script's work depends on
    "$venv/bin/python" -VV
    cksum "${locks[@]}" setup.py pyproject.toml parp_fairseq/_version.py scripts/setup.sh \
        parp_fairseq/kernels/build.py parp_fairseq/kernels/csrc/*.* \
        parp_fairseq/kernels/csrc/runtime/*.*
}

# fairseq looks for common.user_dir=parp_fairseq as a folder next to its own package, and Hydra lists
# the folders of hydra_plugins. Neither asks Python's import system, which an editable install needs.
# pip does not know these links, so it never removes what they lead to.
linked=(parp_fairseq hydra_plugins/parp_searchpath)
kernels=parp_fairseq/kernels/libparp_kernels.so

link_folders() { # link_folders SITE: make the links that are missing or lead elsewhere
    local folder
    mkdir -p "$1/hydra_plugins"
    for folder in "${linked[@]}"; do
        [ "$1/$folder" -ef "$root/$folder" ] && continue
        printf 'setup: linking %s\n' "$1/$folder"
        rm -rf "${1:?}/$folder"
        ln -s "$root/$folder" "$1/$folder"
    done
}

repair() { # put back what pip does not know and is missing
    local site compiler
    for site in "$venv"/lib/python3*/site-packages; do link_folders "$site"; done
    [ -f $kernels ] && return
    for compiler in ${CXX:-c++ g++ clang++}; do
        command -v -- "$compiler" >/dev/null || continue
        printf 'setup: building the kernels\n'
        "$venv/bin/python" parp_fairseq/kernels/build.py >/dev/null || true
        return
    done
}

leave_if_ready() {
    if usable && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] &&
        [ -x "$venv/bin/parp" ] && [ -x "$venv/bin/fairseq-hydra-train" ]; then
        repair
        if [ $quiet = no ]; then printf '%s is ready\n' "$name"; fi
        exit 0
    fi
}

leave_if_ready
if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ ! -f "$venv/setup.lock" ]; then
    die 2 "$venv is in the way and is no Python environment: move it elsewhere"
fi
usable || choose_python
mkdir -p "$venv"
if command -v flock >/dev/null; then
    exec 9>"$venv/setup.lock"
    if ! flock -n 9; then
        printf 'waiting for another setup.sh that works in %s\n' "$name"
        flock 9
        leave_if_ready
    fi
fi

# ---- the work

step=0
finished=no
say() {
    step=$((step + 1))
    doing=${1%% (*}
    printf '[%d/4] %s\n' $step "$1"
    printf '\n==== %s\n' "$1" >>"$log"
}
on_exit() {
    local status=$?
    if [ $finished = no ] && [ $step -gt 0 ]; then
        if [ -f "$log" ]; then tail -n 25 "$log" | sed 's/^/    /' >&2; fi
        printf 'setup: failed while %s; the whole log is %s; rerun it to resume\n' \
            "$doing" "$log" >&2
        if [ $status -eq 0 ]; then status=1; fi
    fi
    exit $status
}
trap on_exit EXIT
trap 'exit 130' INT TERM

pip() {
    "$venv/bin/python" -m pip "$@" >>"$log" 2>&1
}

installed() { # installed NAME: is the version of the lock installed?
    "$venv/bin/python" -I -c '
import sys
from importlib.metadata import version
sys.exit(version(sys.argv[1]).split("+")[0] != sys.argv[2])' "$1" "$(pinned "$1")" 2>/dev/null
}

if ! usable || ! installed $fairseq; then
    if usable; then builder=$venv/bin/python; else builder=$python; fi
    compiler=$("$builder" -I -c '
import os, sysconfig
print((os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++").split()[0])')
    command -v -- "$compiler" >/dev/null ||
        die 2 "building $fairseq needs a C++ compiler, and $compiler was not found: install one (Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install) and run this again"
fi

rm -f "$stamp"
if usable; then
    : >"$log"
    say "updating $name (Python $python_version)"
else
    find "$venv" -mindepth 1 -maxdepth 1 ! -name setup.lock -exec rm -rf {} +
    : >"$log"
    say "making $name with Python $python_version"
    "$python" -m venv "$venv" >>"$log" 2>&1
fi

# Only torch is installed with its dependencies: each of its builds names its own GPU libraries.
say "installing torch $(pinned torch) (200 MB to 3 GB, where pip has not kept it)"
if [ $legacy = yes ]; then pip install "pip==$(pinned pip)"; fi
pip install -c "${locks[0]}" torch numpy setuptools wheel Cython ninja

say "building $fairseq $(pinned $fairseq) (about $minutes, where no earlier build is kept)"
if ! installed $fairseq; then
    if [ $legacy = yes ]; then
        # Away from torch: where it sees one, it compiles extensions whose sources were not released.
        PIP_CONSTRAINT=${locks[0]} pip install --no-deps "fairseq==$(pinned fairseq)"
    else
        # It compiles against torch, and in isolation would fetch the newest one. Without CUDA_HOME:
        # with it, it also compiles GPU kernels that no speech model uses, and fails where the
        # machine's CUDA is not torch's.
        # Three of its extensions include all of torch and serve no speech model: not optimised they
        # take half the time (102 s of CPU in all, not 203; GCC 12 on an AMD EPYC). Those that serve,
        # batching among them, have an -O3 of their own, which comes later and counts.
        # This build is kept for this project's next environments, and not where pip would take it
        # for the user's other projects.
        unset CUDA_HOME
        flags='-DNDEBUG -fwrapv -g0 -O0'
        CFLAGS=$flags CXXFLAGS=$flags pip install --no-deps --no-build-isolation \
            --cache-dir "${XDG_CACHE_HOME:-$HOME/.cache}/parp-fairseq/torch-$(pinned torch)" \
            "fairseq-fixed==$(pinned fairseq-fixed)"
    fi
fi

say "installing the rest and this package"
requirements=()
for lock in "${locks[@]}"; do requirements+=(-r "$lock"); done
# The lock holds for build tools too: some Pythons find no wheel of every package.
PIP_CONSTRAINT=${locks[0]} pip install --no-deps "${requirements[@]}"
site=$("$venv/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Before pip installs: what an earlier set-up left there may be folders.
rm -rf "${site:?}/parp_fairseq" "$site/hydra_plugins/parp_searchpath"
pip install --no-deps --no-build-isolation --force-reinstall -e .
link_folders "$site" >>"$log"
# From elsewhere, so that what is found is what was installed.
(cd "$venv" && bin/python -c 'import parp_fairseq, fairseq') >>"$log" 2>&1

fingerprint >"$stamp.part"
mv "$stamp.part" "$stamp"
finished=yes
printf '%s is ready: Python %s, %s %s, torch %s\n' "$name" "$python_version" \
    "$fairseq" "$(pinned $fairseq)" "$(pinned torch)"
