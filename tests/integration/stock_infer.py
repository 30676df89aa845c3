"""fairseq's own infer script, as the oracle for decoding."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

from running import _SERVER as SERVER


def run_fairseq_infer(
    checkpoint: Path,
    data: Path,
    split: str,
    results: Path,
    *,
    labels: str = "ltr",
    post_process: str = "letter",
    overrides: tuple[str, ...] = (),
    python: os.PathLike[str] | str | None = None,
) -> dict[str, object]:
    """Run stock infer (Viterbi, CPU) in a process of its own.

    The process is forked from one that has imported fairseq; where `python` is given, that
    interpreter is started, as a user starts it.

    Returns `wer` (the float of its result file), `errors`, `length` and `files`: its four
    transcript files as {name: {row: text}}.
    """
    results.mkdir(parents=True, exist_ok=True)
    # Not at the top: the forked process imports this module, and is to load nothing of the plugin.
    from parp_fairseq.evaluation import infer

    script = infer.__file__
    arguments = [
        *("task=audio_finetuning", f"task.data={data}", f"task.labels={labels}"),
        "decoding.type=viterbi",
        f"decoding.results_path={results}",
        f"common_eval.path={checkpoint}",
        f"common_eval.results_path={results}",
        f"common_eval.post_process={post_process}",
        "common_eval.quiet=true",
        "common.cpu=true",
        f"dataset.gen_subset={split}",
        f"hydra.run.dir={results}",
        *overrides,
    ]
    log = results / "output.log"
    if python is not None:
        with log.open("w") as stream:
            environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "OMP_NUM_THREADS": "1"}
            code = subprocess.run(
                [str(python), script, *arguments],
                cwd=results,
                env=environment,
                stdout=stream,
                stderr=stream,
                timeout=300,
            ).returncode
    else:
        # A loader's workers cannot be started from there.
        arguments.append("dataset.num_workers=0")
        process = SERVER.Process(target=_infer, args=(script, arguments, str(results), str(log)))
        process.start()
        process.join()
        code = process.exitcode
    assert code == 0, log.read_text(errors="replace")[-4000:]
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


def _infer(script: str, arguments: list[str], folder: str, log: str) -> None:
    os.chdir(folder)
    with open(log, "w") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
        os.environ["HYDRA_FULL_ERROR"] = "1"
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")
