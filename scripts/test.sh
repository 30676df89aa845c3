#!/usr/bin/env bash
# Sets up what is missing; then runs lint, import rules, types and all tests that are not marked slow.
# --quick: only unit tests, without those that build wheels or kernels or train.
# --legacy: only tests marked legacy, on official fairseq.
# Other arguments go to pytest, which runs in the root: scripts/test.sh tests/unit -k mask
set -euo pipefail

legacy=no
tests=()
case ${1-} in
    --legacy)
        legacy=yes
        shift
        ;;
    --quick)
        tests=(tests/unit --ignore=tests/unit/test_packaging.py --ignore=tests/unit/workflow
            --ignore=tests/unit/kernels/test_native.py)
        shift
        ;;
esac
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME
# Two workers share the cores; threads of one that wait in turns would take them from the other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# The pytest of the environment, not "python -m pytest", which would put this folder on the path
# and so hide how the package is installed.
if [ $legacy = yes ]; then
    scripts/setup.sh --legacy --quiet
    exec .venv-legacy/bin/pytest -m "legacy and not slow" -n 2 --dist loadfile --durations=10 "$@"
fi
scripts/setup.sh --quiet
.venv/bin/ruff check
.venv/bin/ruff format --check
.venv/bin/lint-imports --no-logo
.venv/bin/mypy
exec .venv/bin/pytest -m "not slow" -n 2 --dist loadfile --durations=10 "${tests[@]}" "$@"
