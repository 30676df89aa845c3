"""What the SLURM profile asks for."""

from __future__ import annotations

import re

import yaml
from experiments.plan import HERE


def test_every_job_has_its_time_and_memory():
    """Of its own: `--default-resources` on the command line replaces a profile's defaults."""
    text = (HERE / "Snakefile").read_text(encoding="utf-8")
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    local = set(re.search(r"^localrules:\n((?:    \w+,\n)+)", text, re.MULTILINE)[1].split())
    profile = yaml.safe_load((HERE / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    asked = dict(one.split("=") for one in profile["set-resources"])
    sent = rules - {name.rstrip(",") for name in local}
    assert sent > {"train", "score", "compare"}
    for name in sent:
        assert int(asked[f"{name}:runtime"]) >= 60 and int(asked[f"{name}:mem_mb"]) >= 8000
    assert "default-resources" not in profile
