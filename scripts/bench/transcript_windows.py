#!/usr/bin/env python3
"""Compare `parp transcribe` with `parp eval`, and windows of long recordings, on a demo's data.

    .venv/bin/python scripts/bench/transcript_windows.py DEMO_FOLDER

DEMO_FOLDER is one that `parp demo` (or scripts/demo.sh) has filled. Each run's last checkpoint
becomes a sparse file, which transcribes every recording of the test set; then all of them, one
after the other with 0.3 s between, as one recording, in windows of several lengths.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from measuring import machine

from parp_fairseq.evaluation import edit_counts, evaluate
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.inference.audio import read_recording
from parp_fairseq.inference.recognise import transcribe
from parp_fairseq.inference.subnetwork import AUTO, open_subnetwork, run_sparse
from parp_fairseq.table import aligned

SPLIT = "test-clean"
WINDOWS = (8, 20, 60, 3600)


def main() -> None:
    """Print two tables and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--runs", nargs="+", default=["dense_seed1", "parp_0.9_seed1"])
    options = parser.parse_args()
    (data,) = (options.demo / "data").iterdir()
    root, *rows = (data / f"{SPLIT}.tsv").read_text(encoding="utf-8").splitlines()
    paths = [Path(root, row.split("\t")[0]) for row in rows]
    said = (data / f"{SPLIT}.wrd").read_text(encoding="utf-8").split()
    pause = np.zeros(4800)
    table, long_ones = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        waves = [np.concatenate([soundfile.read(path)[0], pause]) for path in paths]
        soundfile.write(folder / "long.wav", np.concatenate(waves), 16_000)
        for run in options.runs:
            checkpoint = options.demo / "runs" / run / "checkpoints" / "checkpoint_last.pt"
            sparse = folder / f"{run}.safetensors"
            export_sparse(checkpoint, sparse)
            subnetwork = open_subnetwork(sparse)
            groups = run_sparse(subnetwork.model, AUTO)
            heard = [transcribe(subnetwork, read_recording(path)).text for path in paths]
            cells = [run, f"{len(paths)}", f"{groups}"]
            for batch in (1, None):
                score = evaluate(
                    checkpoint, data, SPLIT, batch_size=batch, device="cpu", num_workers=0
                )
                theirs = [utterance.hypothesis for utterance in score.utterances]
                differing = sum(a != b for a, b in zip(heard, theirs))
                cells += [f"{score.rate:.2f}", f"{differing}"]
            table.append(cells)
            for seconds in WINDOWS:
                found = transcribe(subnetwork, read_recording(folder / "long.wav"), seconds)
                rate = 100 * edit_counts(said, found.text.split()).errors / len(said)
                long_ones.append([run, f"{seconds}", f"{found.seconds:.0f}", f"{rate:.2f}"])
    header = ("run", "utterances", "sparse groups", "WER in batches of 1", "differ")
    print(aligned((*header, "WER in eval's batches", "differ"), table))
    print()
    print(aligned(("run", "window s", "recording s", "WER of one long recording"), long_ones))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
