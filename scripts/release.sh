#!/usr/bin/env bash
# Makes dist/ from a clean checkout: an sdist and, from it, a manylinux wheel, both checked by twine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
python=$(realpath -s -- "${PYTHON:-.venv/bin/python}") # an environment of scripts/setup.sh
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' parp_fairseq/_version.py)
die() {
    printf 'release: %s\n' "$1" >&2
    exit 2
}
[ -z "$(git status --porcelain)" ] || die 'the checkout has changes; commit them first'
grep -q "^## $version " CHANGELOG.md || die "CHANGELOG.md has no section $version"
grep -q "^version: $version$" CITATION.cff || die "CITATION.cff is of another version than $version"

rm -rf dist build/release
mkdir -p dist build/release
log=$PWD/build/release/log
trap 'tail -n 20 "$log" >&2' ERR
{
    "$python" -m venv build/release/tools
    tools=$PWD/build/release/tools/bin
    "$tools/pip" install --no-deps -r requirements/lock-release.txt
    "$python" -c 'from setuptools import build_meta; build_meta.build_sdist("dist")'
    tar -xzf dist/*.tar.gz -C build/release
    (cd "build/release/parp_fairseq-$version" &&
        "$python" -c 'from setuptools import build_meta; build_meta.build_wheel("..")')
    # The oldest manylinux whose symbols suffice; build on an older system for an older one.
    PATH=$tools:$PATH auditwheel repair --wheel-dir dist build/release/*.whl
} >"$log" 2>&1
"$tools/twine" check --strict dist/*
printf 'upload: %s upload dist/*\n' "$tools/twine"
