"""fairseq's own infer script, as the oracle for decoding."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from parp_fairseq.evaluation import infer


def run_fairseq_infer(
    checkpoint: Path,
    data: Path,
    split: str,
    results: Path,
    *,
    labels: str = "ltr",
    post_process: str = "letter",
    overrides: tuple[str, ...] = (),
    python: os.PathLike[str] | str = sys.executable,
) -> dict[str, object]:
    """Run stock infer (Viterbi, CPU) with `python`, in a process of its own.

    Returns `wer` (the float of its result file), `errors`, `length` and `files`: its four
    transcript files as {name: {row: text}}.
    """
    results.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(python), str(infer.__file__)),
        *("task=audio_finetuning", f"task.data={data}", f"task.labels={labels}"),
        "decoding.type=viterbi",
        f"decoding.results_path={results}",
        f"common_eval.path={checkpoint}",
        f"common_eval.results_path={results}",
        f"common_eval.post_process={post_process}",
        "common_eval.quiet=true",
        "common.user_dir=null",
        "common.cpu=true",
        f"dataset.gen_subset={split}",
        f"hydra.run.dir={results}",
        *overrides,
    ]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=results, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    wer = (results / "wer").read_text(encoding="utf-8").splitlines()
    errors, length = re.search(r"= (\d+) / (\d+)", wer[1]).groups()
    files = {}
    for name in ("hypo.word", "ref.word", "hypo.units", "ref.units"):
        files[name] = {}
        for line in (results / name).read_text(encoding="utf-8").splitlines():
            text, row = re.fullmatch(r"(.*) \(None-(\d+)\)", line).groups()
            files[name][int(row)] = text
    return {
        "wer": float(wer[0].split()[1]),
        "errors": int(errors),
        "length": int(length),
        "files": files,
    }
