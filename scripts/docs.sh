#!/usr/bin/env bash
# Builds the pages and the API reference into build/site (extra docs). A broken link, anchor or docstring fails.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
if ! "$python" -c 'import mkdocs, mkdocstrings' 2>/dev/null; then
    printf "docs: mkdocs is missing in %s: pip install '.[docs]'\n" "$python" >&2
    exit 2
fi
# Pages link to sources, as they do on a forge.
rm -rf build/docs
mkdir -p build/docs
git ls-files -z ':!tests' ':!*.pt' ':!*.so' | xargs -0 cp --parents -t build/docs
exec "$python" -m mkdocs build --strict --clean --config-file docs/mkdocs.yml
