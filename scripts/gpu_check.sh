#!/usr/bin/env bash
# On a machine with a GPU: are masks, killed trainings and the main job what they are on a CPU?
# Takes the Python in PYTHON (python3), which needs torch, numpy, safetensors and transformers.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
PYTHONPATH=$PWD exec "${PYTHON:-python3}" scripts/gpu_check.py "$@"
