#!/usr/bin/env python3
"""`parp eval` and fairseq's own infer: whole processes, in turn, on a demo's data.

    .venv/bin/python scripts/bench/eval_speed.py DEMO_FOLDER

DEMO_FOLDER is one that `parp demo` (or scripts/demo.sh) has filled. Both decode the same split
with the same batches on the CPU, and must come to the same error rate. `--times 10` decodes a
split of ten times as many utterances (the same ones again).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from measuring import PARP, in_turn, machine, parser, run, times

from parp_fairseq.table import aligned

CHECKPOINT = "runs/dense_seed1/checkpoints/checkpoint_last.pt"


def measure(demo: Path, split: str, factor: int, rounds: int, folder: Path) -> list[list[str]]:
    """Rows of the table for a split `factor` times as long."""
    data = folder / f"{split}-{factor}"
    (source,) = (demo / "data").iterdir()
    utterances, minutes = write_split(source, split, factor, data)
    scores, checkpoint = folder / "scores.json", demo / CHECKPOINT
    ours = (PARP, "eval", checkpoint, "--data", data, "--split", split)
    theirs = (
        *(sys.executable, "-m", "parp_fairseq.evaluation.infer"),
        *("task=audio_finetuning", f"task.data={data}", "task.labels=ltr"),
        *("decoding.type=viterbi", f"decoding.results_path={folder}"),
        *(f"common_eval.path={checkpoint}", f"common_eval.results_path={folder}"),
        *("common_eval.post_process=letter", "common_eval.quiet=true"),
        *("common.cpu=true", f"dataset.gen_subset={split}"),
        *("dataset.required_batch_size_multiple=1", f"hydra.run.dir={folder}"),
    )
    options = ("--device", "cpu", "--json", scores, "--force")
    commands = {"parp eval": (*ours, *options), "fairseq's infer": theirs}
    ways = {
        name: lambda command=command: run(command, folder).seconds
        for name, command in commands.items()
    }
    seconds = in_turn(ways, rounds)
    rate = json.loads(scores.read_text())[0]["rate"]
    if float((folder / "wer").read_text().split()[1]) != rate:
        raise SystemExit(f"the error rates differ: {rate} and {(folder / 'wer').read_text()}")
    size = f"{utterances:,}", f"{minutes:.0f}"
    return [[*size, name, f"{rate:.2f}", *times(taken, 1)] for name, taken in seconds.items()]


def write_split(source: Path, split: str, factor: int, out: Path) -> tuple[int, float]:
    """Write a split with every row `factor` times; return utterances and minutes."""
    out.mkdir()
    root, *rows = (source / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    rows *= factor
    (out / f"{split}.tsv").write_text("\n".join([root, *rows]) + "\n", encoding="utf-8")
    (out / f"{split}.ltr").write_bytes((source / f"{split}.ltr").read_bytes() * factor)
    (out / "dict.ltr.txt").write_bytes((source / "dict.ltr.txt").read_bytes())
    return len(rows), sum(int(row.split("\t")[1]) for row in rows) / 16_000 / 60


def main() -> None:
    """Print a table and the machine."""
    options = parser(__doc__, 5, "the split as it is")
    options.add_argument("demo", type=Path)
    options.add_argument("--split", default="test-clean")
    options.add_argument("--times", type=int, nargs="+", default=[1, 10])
    given = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for factor in [1] if given.quick else given.times:
            demo = given.demo.resolve()
            rows += measure(demo, given.split, factor, given.rounds, Path(folder))
    header = ("utterances", "minutes", "program", "WER", "median s", "smallest", "largest")
    print(aligned(header, rows, left=0))
    print(f"{given.rounds} rounds, in turn; {machine()}")


if __name__ == "__main__":
    main()
