"""Scores as the workflow keeps them, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from experiments.plan import FineTuning, Plan
from experiments.reading import read_plan

CONTENT = {
    "worlds": {
        "w": {
            "about": "a world",
            "config": "parp_demo",
            "model": "tiny",
            "valid": "dev",
            "test": ["test"],
            "speech": {},
            "size": "tiny",
        }
    },
    "results": {
        "four": {
            "title": "Four cells",
            "kind": "effects",
            "world": "w",
            "seeds": [1, 2],
            "cells": [
                {"method": "mpi", "sparsity": [0.9, 0.5]},
                {"method": "parp", "sparsity": [0.9, 0.5]},
                {"method": "gmp", "sparsity": [0.9], "options": {"schedule": "linear"}},
                {"method": "gmp", "sparsity": [0.9]},
                {"method": "parp_p", "sparsity": [0.9]},
            ],
            "claims": [
                {
                    "says": "PARP beats MPI",
                    "fewer": "parp 0.9",
                    "than": "mpi 0.9",
                    "paper": "no difference",
                },
                {"says": "MPI beats PARP", "fewer": "mpi 0.9", "than": "parp 0.9", "why": "so."},
                {"says": "GMP beats MPI", "fewer": "gmp 0.9", "than": "mpi 0.9"},
            ],
            "paper": {"parp 0.9": "83.6"},
        },
        "seen": {
            "title": "Views",
            "kind": "views",
            "world": "w",
            "cells": [
                {
                    "method": "parp",
                    "sparsity": [0.9],
                    "options": {"interval": [25, 400]},
                    "trail": [400, 100],
                }
            ],
        },
        "curve": {
            "title": "Curve",
            "kind": "rates",
            "world": "w",
            "seeds": [1, 2],
            "cells": [{"method": "dense"}, {"method": "omp", "sparsity": [0.9]}],
            "claims": [{"says": "dense beats OMP", "fewer": "dense", "than": "omp 0.9"}],
        },
    },
}


def made_plan(home: Path, content: dict = CONTENT) -> Plan:
    """A plan in a folder of its own; without `content` one of three results."""
    (home / "small.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return read_plan("small", home)


def write_score(
    plan: Plan, name: str, rate: float, *, minutes: float = 3.0, metric: str = "WER", **changes
) -> None:
    """A score of `rate` on dev and one more on test; a trail where the fine-tuning keeps one."""
    ft = plan.scored[name]
    kinds = [("last", 800, "subnetwork", ft.sparsity, 0.0)]
    trail = []
    if ft.trail:
        kinds += [("kept", 700, "theta", 0.0, -40.0), ("best", 500, "subnetwork", 0.9, -5.0)]
        trail = [
            {"update": update, "theta": rate - 40 + update / 100, "zeros": 0.0, "subnetwork": rate}
            for update in (500, 700)
        ]
    scores = [
        {
            "checkpoint": checkpoint,
            "update": update,
            "weights": weights,
            "zeros": zeros,
            "split": split,
            "metric": metric,
            "rate": rate + offset + (split == "test"),
            "rate_low": rate + offset + (split == "test") - 2,
            "rate_high": rate + offset + (split == "test") + 2,
        }
        for checkpoint, update, weights, zeros, offset in kinds
        for split in ("dev", "test")
    ]
    content = {
        "name": name,
        "settings": settings(ft),
        "command": "fairseq-hydra-train",
        "trained_by": "the workflow",
        "commit": "0123456789",
        "machine": "a CPU, 2 cores, load 1.0 at the end",
        "minutes": minutes,
        "trainings": ft.trainings,
        "scores": scores,
        "trail": trail,
        **changes,
    }
    file = plan.scores_file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def settings(ft: FineTuning) -> dict[str, object]:
    """Its settings as JSON gives them back."""
    return json.loads(json.dumps(ft.settings()))
