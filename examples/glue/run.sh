#!/usr/bin/env bash
# Table 4 on a local GLUE folder: run.sh GLUE_FOLDER MODEL_FOLDER [OUT]. Started again it goes on.
#
# Tasks come one by one: after each of them the table of those so far is whole.
set -euo pipefail
data=$1 model=$2 out=${3:-runs/glue}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
common=(--data "$data" --model "$model" --out "$out" --sparsity 0.7
    --exclude pooler.dense.weight
    --limit-train "${LIMIT_TRAIN:-1000}" --batch "${BATCH:-16}"
    --learning-rate "${LEARNING_RATE:-1e-4}" --precision "${PRECISION:-bf16}")

for seeds in $(seq "${SEEDS:-1}"); do
    tasks=cola
    for task in sts-b mrpc rte; do
        tasks+=,$task
        parp glue transfer --tasks "$tasks" --seeds "$seeds" "${common[@]}"
    done
    for more in "" ,sst-2; do
        parp glue transfer --tasks "$tasks$more" --seeds "$seeds" --alone parp,parp_p,mpi,rp \
            --png "$out/table4.png" --force "${common[@]}"
    done
done
