#!/usr/bin/env bash
# Sets up what is missing, then runs the demo. Arguments go to `parp demo`: scripts/demo.sh --fast
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
unset PYTHONPATH PYTHONHOME
"$root/scripts/setup.sh" --quiet
exec "$root/.venv/bin/parp" demo "$@"
