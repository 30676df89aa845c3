"""Run folders as training leaves them, written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

KINDS = (*(f"self_attn.{name}_proj" for name in ("k", "v", "q", "out")), "fc1", "fc2")


def meters(**values) -> str:
    """A line of meters as fairseq writes them: all values are strings, the epoch is not."""
    return json.dumps({"epoch": 1, **{key: str(value) for key, value in values.items()}})


def log_lines(updates, wers, *, every=10, split="dev-other", minutes=2.0):
    """Meters every `every` updates and errors at as many validations as `wers` has."""
    at = {round(updates * (i + 1) / len(wers)): wer for i, wer in enumerate(wers)}
    lines = ["{'_name': None, 'common': {}}", "Wav2VecCtc("]
    for update in range(every, updates + 1, every):
        wall = round(60 * minutes * update / updates, 1)
        values = {"loss": 100 / update, "num_updates": update, "wall": wall, "train_wall": 1}
        lines.append(meters(**values))
        if update in at:
            row = {"loss": 9, "wer": at[update], "uer": 1, "num_updates": update}
            lines.append(meters(**{f"{split}_{key}": value for key, value in row.items()}))
    return lines


def sparsity_report(sparsity, layers=3, entries=1000):
    """`sparsity.json` of a small model; the k matrices have 5 points less, the fc1 5 more."""
    tensors = {}
    for layer in range(layers):
        for kind in KINDS:
            share = sparsity + {"fc1": 0.05, "self_attn.k_proj": -0.05}.get(kind, 0)
            tensors[f"encoder.layers.{layer}.{kind}.weight"] = {
                "entries": entries,
                "pruned": round(entries * share),
                "sparsity": share,
            }
    pruned = sum(counts["pruned"] for counts in tensors.values())
    total = entries * len(tensors)
    return {"entries": total, "pruned": pruned, "sparsity": pruned / total, "tensors": tensors}


def write_run(
    folder: Path,
    method="parp",
    sparsity=0.9,
    seed=1,
    *,
    updates=40,
    done=None,
    wers=(90.0, 60.0, 50.0, 45.0),
    scores=None,
    minutes=2.0,
    lr=0.0005,
    mask=None,
    post_process="letter",
    data="data/10min",
    initial=None,
    finetune_from=None,
    contents=None,
) -> Path:
    """Write a run's folder; `done` updates of `updates`; `scores`: split → percent errors."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    config = {
        "common": {"seed": seed, "log_file": "train.log", "log_interval": 10},
        "checkpoint": {"save_dir": "checkpoints", "finetune_from_model": finetune_from},
        "criterion": {"_name": "parp_ctc", "post_process": post_process},
        "dataset": {"valid_subset": "dev-other"},
        "optimization": {"max_update": updates, "lr": [lr]},
        # As fairseq fills them in.
        "lr_scheduler": {"max_update": float(updates), "lr": [lr]},
        "task": {
            "_name": "parp",
            "data": data,
            "folder": str(folder.parent),
            "seed": seed,
            "prune": {
                "method": method,
                "sparsity": sparsity,
                "initial": initial,
                "mask": mask,
                "seed": seed,
            },
        },
    }
    command = ["/some/bin/fairseq-hydra-train", "--config-name", "parp_demo", f"common.seed={seed}"]
    command += [f"optimization.lr=[{lr}]"]
    record = {"command": command, "versions": {"torch": "2.0"}, "git": None, "config": config}
    record["contents"] = contents or {}
    (checkpoints / "run.json").write_text(json.dumps(record))
    if method != "dense":
        (checkpoints / "sparsity.json").write_text(json.dumps(sparsity_report(sparsity)))
    lines = log_lines(updates, wers, minutes=minutes)
    if done is not None:
        counts = [re.search(r'num_updates": "(\d+)', line) for line in lines]
        lines = [line for line, n in zip(lines, counts) if n is None or int(n[1]) <= done]
    (folder / "train.log").write_text("\n".join(lines) + "\n")
    for split, rate in (scores or {}).items():
        (folder / "eval").mkdir(exist_ok=True)
        score = {
            "checkpoint": f"{folder}/checkpoints/checkpoint_last.pt",
            "split": split,
            "metric": "PER" if post_process == "none" else "WER",
            "rate": rate,
        }
        (folder / "eval" / f"{split}.json").write_text(json.dumps([score]))
    return folder
