#!/usr/bin/env python3
"""Benches on models with random weights: .venv/bin/python scripts/bench.py NAME

  reprune     one pruning: every way prunes the same weights to the same sparsity; ratios are to
              hardshrink in place, which knows the threshold: the fastest that PyTorch has
  training    fairseq-hydra-train on 12 s of noise an utterance: dense, a static mask, and PARP that
              prunes after every update
  engine      inference of one utterance in processor time: torch, OpenVINO, the sparse engine, each
              in fp32, bf16 and int8; with --trained and --data the word errors of each
  transcribe  parp transcribe of a sparse file at 90%, as whole processes
  sizes       sparse files of one level and of several: bytes, and seconds to write and to read
  budgets     parp transcribe --budget, as whole processes: how many of 20 random budgets of time
              and of size are met within 10%; of --trained, or of random weights

All ways of a bench take turns, so that other work on the machine meets all alike. Where others use
it, --one-thread makes times comparable.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import soundfile
import torch

from parp_fairseq.kernels import native
from parp_fairseq.manifests.labels.labelling import ENGLISH_LETTERS
from parp_fairseq.pruning import Mask, Pruner, Scope, SparsitySchedule, magnitude_mask
from parp_fairseq.pruning.magnitude import select_smallest
from parp_fairseq.table import aligned

T = TypeVar("T")
RATE, STRIDE, RECEPTIVE_FIELD = 16_000, 320, 400
PARP = Path(sys.executable).with_name("parp")
# Layers and width: every layer has four matrices of w by w and two of w by 4 w.
SIZES = {"base": (12, 768), "XLSR-53": (24, 1024), "quick": (2, 384)}
RUNS = {
    "dense": ("task.prune.method=dense",),
    "mpi (static)": ("task.prune.method=mpi",),
    "parp, n = 1": ("task.prune.method=parp", "task.prune.interval=1"),
}


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long `work` takes by a clock."""
    start = clock()
    work()
    return clock() - start


def in_turn(ways: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each way returns in each round."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def times(values: Sequence[float]) -> list[str]:
    """Cells: median, least and greatest."""
    return [f"{of(values):.2f}" for of in (statistics.median, min, max)]


class Process(NamedTuple):
    """What a process that ended well used and said."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    errors: str


def run(command: Sequence[str | Path]) -> Process:
    """Run a command to its end; exit with what it said where it fails."""
    with tempfile.TemporaryFile() as stream:
        start = time.perf_counter()
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=stream)
        _, status, used = os.wait4(process.pid, 0)
        taken = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stream.seek(0)
        errors = stream.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{errors[-2000:]}")
    return Process(taken, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss, errors)


def noise(path: Path, length: float, seed: int = 1) -> Path:
    """Write noise of so many seconds that swells and fades."""
    samples = np.random.default_rng(seed).normal(0, 0.05, int(length * RATE)).clip(-1, 1)
    soundfile.write(path, samples * np.sin(np.arange(len(samples)) / 4000) ** 2, RATE)
    return path


def pretrained(quick: bool) -> tuple[Any, dict[str, Any]]:
    """fairseq's `Wav2Vec2Model` of base, and its checkpoint as fairseq would write it."""
    from fairseq.models.wav2vec import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    torch.manual_seed(1)
    layers, width = SIZES["quick" if quick else "base"]
    small = {"encoder_layers": layers, "encoder_embed_dim": width}
    config = Wav2Vec2Config(quantize_targets=True, final_dim=256, latent_vars=320, **small)
    model = Wav2Vec2Model(config)
    options = OmegaConf.to_container(OmegaConf.structured(config))
    options = {key: getattr(value, "name", value) for key, value in options.items()}
    task = {"_name": "audio_pretraining", "data": "", "normalize": False}
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
    return model, {
        "args": None,
        "cfg": {
            "model": {**options, "_name": "wav2vec2"},
            "task": task,
            "lr_scheduler": {"_name": "fixed"},
        },
        "model": model.state_dict(),
        "optimizer_history": [{**history, "num_updates": 0}],
        "extra_state": {"metrics": [], "train_iterator": {"epoch": 1}},
        "last_optimizer_state": {},
    }


def fine_tuned(quick: bool, levels: Sequence[float] = (0.9,)) -> dict[str, Any]:
    """The checkpoint of `pretrained` with a head of English letters, pruned to the first level."""
    model, state = pretrained(quick)
    model.remove_pretraining_modules()
    weights = {f"w2v_encoder.w2v_model.{name}": w for name, w in model.state_dict().items()}
    symbols, counts = zip(*ENGLISH_LETTERS)
    rows = 4 + len(symbols)
    weights["w2v_encoder.proj.weight"] = torch.randn(rows, model.cfg.encoder_embed_dim)
    weights["w2v_encoder.proj.bias"] = torch.zeros(rows)
    prunable = {name: weights[name] for name in Scope().select(weights)}
    magnitude_mask(prunable, levels[0]).zero_(prunable)
    tuned = {"_name": "wav2vec_ctc", "w2v_path": "base.pt", "data": "", "normalize": False}
    task = {"_name": "audio_finetuning", "labels": "ltr", "data": "", "normalize": False}
    if len(levels) > 1:
        nested = {"method": "nested", "sparsity": levels[0], "sparsities": [*levels[1:]]}
        task = {**task, "prune": nested}
    return {
        "args": None,
        "cfg": {"task": task, "model": {**tuned, "w2v_args": state["cfg"]}},
        "model": weights,
        "task_state": {"parp_symbols": {"symbols": list(symbols), "counts": list(counts)}},
    }


def peak_extra_bytes(work: Callable[[], object]) -> int:
    """By how much this process's memory grows at most while `work` runs (Linux only)."""

    def kilobytes(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1])

    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return 1024 * max(0, kilobytes("VmHWM") - before)


def keep_freed_memory() -> None:
    """Let glibc's malloc give nothing back: fresh pages take up to half of torch's time."""
    trim_threshold, mmap_threshold = -1, -3
    library = ctypes.CDLL(None)
    library.mallopt(trim_threshold, 2**31 - 1)
    library.mallopt(mmap_threshold, 2**30)


def reprune(given: argparse.Namespace) -> Iterator[str]:
    """A table: milliseconds of one pruning, its ratio to hardshrink's, and its memory."""
    rows, sparsity = [], given.sparsity[0]
    for size in ["quick"] if given.quick else ["base", "XLSR-53"]:
        layers, width = SIZES[size]
        shapes = layers * [*4 * [(width, width)], (4 * width, width), (width, 4 * width)]
        generator = torch.Generator().manual_seed(0)
        original = {
            f"{number:03}": torch.randn(shape, generator=generator) * 0.05
            for number, shape in enumerate(shapes)
        }
        weights = {name: weight.clone() for name, weight in original.items()}
        ways = prunings(weights, sparsity)

        def timed(way: Callable[[], object]) -> Callable[[], float]:
            def once() -> float:
                for name, weight in weights.items():  # noqa: B023
                    weight.copy_(original[name])  # noqa: B023
                return seconds(way)

            return once

        in_turn({name: timed(way) for name, way in ways.items()}, 1)
        found = in_turn({name: timed(way) for name, way in ways.items()}, given.rounds)
        entries = sum(weight.numel() for weight in weights.values())
        for name, taken in found.items():
            ratio = statistics.median(a / b for a, b in zip(taken, next(iter(found.values()))))
            peak = peak_extra_bytes(timed(ways[name])) / (4 * entries)
            median = 1000 * statistics.median(taken)
            rows.append([size, name, f"{median:,.1f}", f"{ratio:,.2f}", f"{peak:.1%}"])
    header = ("model", "what", "median ms", "÷ hardshrink", "extra memory, of weights")
    yield aligned(header, rows, left=2)


def prunings(weights: dict[str, torch.Tensor], sparsity: float) -> dict[str, Callable[[], object]]:
    """Ways to prune these weights in place."""
    selection = select_smallest(weights, sparsity)
    threshold = selection.threshold

    def hardshrink() -> None:
        for weight in weights.values():
            torch.ops.aten.hardshrink.out(weight, threshold, out=weight)

    def select_and_zero(hint: float) -> None:
        select_smallest(weights, sparsity, hint=hint).cut(weights, zero=True, pack=False)

    dynamic = Pruner(SparsitySchedule(final=sparsity), interval=1)
    ones = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}
    static = Pruner(SparsitySchedule(final=sparsity), static=True)
    static.start(weights, selection.mask(weights))
    dynamic.start(weights, Mask(ones).to(weights))
    return {
        "hardshrink in place": hardshrink,
        "select and zero, first time": lambda: select_and_zero(0.0),
        "select and zero, again": lambda: select_and_zero(threshold * 1.0001),
        "whole event, with mask and meters": lambda: dynamic.end_update(1),
        "static mask, an update": lambda: static.end_update(1),
    }


def training(given: argparse.Namespace) -> Iterator[str]:
    """A table: seconds between fairseq's log lines of updates, and a run's peak memory."""
    length, batch = (2.0, 1) if given.quick else (12.0, 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(pretrained(given.quick)[1], folder / "model.pt")
        random = np.random.default_rng(1)
        letters = [symbol for symbol, _ in ENGLISH_LETTERS[1:]]
        for split, count in (("train", 4 * batch), ("dev_other", 1)):
            files = [noise(folder / f"{split}-{n}.flac", length, n).name for n in range(count)]
            rows = [name, *(f"{file}\t{int(length * RATE)}" for file in files)]
            (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
            labels = "".join(
                " ".join(random.choice(letters, round(12.5 * length))) + "\n" for _ in files
            )
            (folder / f"{split}.ltr").write_text(labels)
        symbols = "".join(f"{symbol} {count}\n" for symbol, count in ENGLISH_LETTERS)
        (folder / "dict.ltr.txt").write_text(symbols)

        def train(method: str) -> tuple[float, float]:
            shutil.rmtree(folder / "run", ignore_errors=True)
            process = run(
                [
                    PARP.with_name("fairseq-hydra-train"),
                    *("--config-name", "parp_10min", "common.user_dir=parp_fairseq"),
                    *(f"task.data={folder}", f"model.w2v_path={folder / 'model.pt'}"),
                    *(f"hydra.run.dir={folder / 'run'}", *RUNS[method]),
                    *("task.prune.interval_unit=update", "task.prune.sparsity=0.5"),
                    *("common.cpu=true", "common.log_interval=1", "checkpoint.no_save=true"),
                    *("common.tensorboard_logdir=null", "model.freeze_finetune_updates=0"),
                    *("distributed_training.distributed_world_size=1", "model.layerdrop=0"),
                    *("optimization.update_freq=[1]", "optimization.max_update=7"),
                    *(f"dataset.max_tokens={int(batch * length * RATE)}", "dataset.num_workers=1"),
                    *("dataset.valid_subset=dev_other", "dataset.disable_validation=true"),
                ]
            )
            (log,) = (folder / "run").rglob("hydra_train.log")
            stamps = re.findall(r"^\[([\d: ,-]+)\]\[train_inner\]", log.read_text(), re.M)
            at = [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f") for stamp in stamps]
            gaps = [(b - a).total_seconds() for a, b in zip(at, at[1:])]
            return statistics.median(gaps[1:]), process.peak_bytes

        found = in_turn({m: (lambda m=m: train(m)) for m in RUNS}, given.rounds)
    rows = [
        [method, *times([taken for taken, _ in runs]), f"{max(p for _, p in runs) / 2**30:.2f}"]
        for method, runs in found.items()
    ]
    yield aligned(("run", "s an update", "least", "most", "peak GiB"), rows)


class ByOneDnn(torch.nn.Linear):
    """A dense linear by oneDNN: torch takes MKL, which is slow on AMD's processors."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, in) to (…, out)."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def dense_ways(
    model: Any, calls: list[torch.Tensor], folder: Path
) -> dict[str, Callable[[], tuple[Any, int]]]:
    """Name → makes a function from waveforms to logits, and tells the bytes of its file."""
    from parp_fairseq.engine import parts

    def saved(changed: Any) -> tuple[Any, int]:
        torch.save(changed.state_dict(), folder / "model.pt")
        return changed, (folder / "model.pt").stat().st_size

    def by_onednn() -> tuple[Any, int]:
        changed = copy.deepcopy(model)
        for module in changed.modules():
            if type(module) is torch.nn.Linear:
                module.__class__ = ByOneDnn
        return saved(changed)

    def bf16() -> tuple[Any, int]:
        changed, size = saved(copy.deepcopy(model).bfloat16())
        return (lambda wave: changed(wave.bfloat16()).float()), size

    def int8() -> tuple[Any, int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return saved(torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}))

    def openvino(precision: str) -> tuple[Any, int]:
        from openvino import save_model

        recorded = [parts.recorded_call(model, wave) for wave in calls]
        graph = parts.Graph(model, recorded, precision)
        save_model(graph.model, folder / "model.xml", compress_to_fp16=precision == "bf16")
        return (lambda wave: graph.run([wave])), (folder / "model.bin").stat().st_size

    ways = {"torch fp32": lambda: saved(model), "torch fp32, linears by oneDNN": by_onednn}
    ways |= {"torch bf16": bf16, "torch dynamic int8": int8}
    for name in ("fp32", "bf16", "int8"):
        precision = "exact" if name == "fp32" else name
        ways[f"OpenVINO {name}"] = lambda precision=precision: openvino(precision)
    return ways


def engine_ways(
    model: Any, file: Path, calls: list[torch.Tensor], name: str = "engine"
) -> dict[str, Callable[[], tuple[Any, int]]]:
    """The same, for every precision of the engine; `file` is the sparse file."""
    from parp_fairseq.engine import accelerate

    def made(precision: str | None) -> tuple[Any, int]:
        ours = copy.deepcopy(model)
        accelerate(ours, precision=precision, calls=calls, frames=(499,))
        return ours, file.stat().st_size

    precisions = {"linears only": None, **{p: p for p in ("exact", "bf16", "int8")}}
    return {f"{name} {way}": (lambda p=p: made(p)) for way, p in precisions.items()}


def engine(given: argparse.Namespace) -> Iterator[str]:
    """Tables: processor time, file and memory on random weights; WER of a trained model."""
    from parp_fairseq.export.sparse_export import export_sparse
    from parp_fairseq.inference.subnetwork import open_subnetwork

    wave = torch.randn(1, (2 if given.quick else 10) * RATE)
    calls = [torch.randn(1, 3 * RATE), wave]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways: dict[str, Callable[[], tuple[Any, int]]] = {}
        for sparsity in given.sparsity:
            checkpoint, file = (folder / f"{sparsity}.{end}" for end in ("pt", "safetensors"))
            torch.save(fine_tuned(given.quick, (sparsity,)), checkpoint)
            export_sparse(checkpoint, file)
            model = open_subnetwork(checkpoint).model
            ways = ways or dense_ways(model, calls, folder)
            ways |= engine_ways(model, file, calls, f"engine {sparsity:.0%}")
        runs, rows, costs = {}, [], []
        with torch.inference_mode():
            for way, make in ways.items():

                def first(way: str = way, make: Callable[[], tuple[Any, int]] = make) -> None:
                    with torch.inference_mode(False), torch.no_grad():
                        runs[way], size = make()
                    runs[way](wave)
                    costs.append(size)

                costs.append(peak_extra_bytes(first))
            keep_freed_memory()
            taken = in_turn(
                {
                    w: (lambda r=r: seconds(lambda: r(wave), time.process_time))
                    for w, r in runs.items()
                },
                given.rounds,
            )
    best = {way: min(found) for way, found in taken.items()}
    for way, size, memory in zip(best, costs[::2], costs[1::2]):
        ratios = [best[other] / best[way] for other in ways if other in list(ways)[:7]]
        cells = [f"{ratios[number]:.2f}" for number in (0, 1, 4, 5, 6)]
        rows.append([way, f"{1e3 * best[way]:,.0f}", *cells, f"{size / 1e6:,.0f}"])
        rows[-1].append(f"{memory / 2**20:,.0f}")
    versus = ("torch", "oneDNN", "OV fp32", "OV bf16", "OV int8")
    header = ("base, 10 s", "ms", *(f"x {name}" for name in versus), "file MB", "MiB to make")
    yield aligned(header, rows) + "\n"
    if given.trained:
        yield trained(given.trained, Path(given.data)) + "\n"


def trained(checkpoint: Path, data: Path) -> str:
    """A table: word errors of a trained model on test-clean in every precision."""
    from parp_fairseq.evaluation.score import edit_counts
    from parp_fairseq.inference.subnetwork import open_subnetwork

    def waves(split: str) -> list[torch.Tensor]:
        root, *lines = (data / f"{split}.tsv").read_text().splitlines()
        files = [Path(root) / line.split("\t")[0] for line in lines]
        return [torch.from_numpy(soundfile.read(f, dtype="float32")[0])[None] for f in files]

    def ready(wave: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(wave, wave.shape) if subnetwork.normalize else wave

    subnetwork = open_subnetwork(checkpoint)
    calls = [ready(wave) for wave in waves("dev-clean")[:16]]
    tests = [ready(wave) for wave in waves("test-clean")]
    references = [line.split() for line in (data / "test-clean.wrd").read_text().splitlines()]
    rows, words = [], sum(map(len, references))
    with tempfile.TemporaryDirectory() as name:
        ways = dense_ways(subnetwork.model, calls, Path(name))
        ways |= engine_ways(subnetwork.model, checkpoint, calls)
        for way, make in ways.items():
            with torch.no_grad():
                run, errors = make()[0], 0
                for wave, reference in zip(tests, references):
                    symbols = run(wave)[0].argmax(-1).numpy()
                    errors += edit_counts(
                        reference, subnetwork.symbols.text(symbols).split()
                    ).errors
            rows.append([way, f"{100 * errors / words:.2f}", str(errors)])
    return aligned(("trained model", "WER", f"of {words:,} words"), rows)


def transcribe(given: argparse.Namespace) -> Iterator[str]:
    """Tables: whole processes on ten seconds, and what is reported of long recordings."""
    from parp_fairseq.export.sparse_export import export_sparse

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(fine_tuned(given.quick), folder / "checkpoint.pt")
        export_sparse(folder / "checkpoint.pt", folder / "model.safetensors")
        command = (PARP, "transcribe", folder / "model.safetensors", "--engine")
        short = noise(folder / "short.wav", 10)
        ways = {"import torch": lambda: run([sys.executable, "-c", "import torch"])}
        for how in ("auto", "dense"):
            ways[f"--engine {how}"] = lambda how=how: run((*command, how, short))
        rows = [
            [
                *(way, *times([each.seconds for each in runs])),
                f"{min(each.cpu_seconds for each in runs):.2f}",
                f"{max(each.peak_bytes for each in runs) / 2**20:,.0f}",
            ]
            for way, runs in in_turn(ways, given.rounds).items()
        ]
        header = ("10 seconds", "median s", "fastest", "slowest", "least CPU s", "peak MiB")
        yield aligned(header, rows) + "\n"
        rows = []
        for minutes in () if given.quick else (1, 10):
            path = noise(folder / "long.wav", 60 * minutes)
            for how in ("auto", "dense"):
                used = run((*command, how, path))
                pattern = r"computed in ([\d.,]+) s \(real-time factor ([\d.]+)\)"
                cells = re.search(pattern, used.errors).groups()
                cells += f"{used.cpu_seconds:.1f}", f"{used.peak_bytes / 2**20:,.0f}"
                rows.append([f"{minutes} minutes", how, *cells])
        header = ("recording", "engine", "computed s", "real-time factor", "CPU s", "peak MiB")
        yield aligned(header, rows, left=2) + "\n"


def sizes(given: argparse.Namespace) -> Iterator[str]:
    """A table: sparse files of nested levels and of their densest one, with all types of values."""
    from parp_fairseq.checkpoints.sparse_file import read_sparse
    from parp_fairseq.export.sparse_export import export_sparse

    rows = []
    with tempfile.TemporaryDirectory() as name:
        checkpoint, out = Path(name, "checkpoint.pt"), Path(name, "model.safetensors")
        for levels in ((0.9,), (0.5,), (0.5, 0.7, 0.9), (0.5, 0.6, 0.7, 0.8, 0.9)):
            torch.save(fine_tuned(given.quick, levels), checkpoint)
            for values in ("fp32", "fp16", "int8"):

                def write(values: str = values) -> None:
                    export_sparse(checkpoint, out, values=values, force=True)

                written = seconds(write)
                read = [seconds(lambda: read_sparse(out)) for _ in range(given.rounds)]
                sparsest = [seconds(lambda: read_sparse(out, 0.9)) for _ in range(given.rounds)]
                cells = [f"{out.stat().st_size / 1e6:.1f}", f"{written:.1f}"]
                cells += [f"{min(taken):.2f}" for taken in (read, sparsest)]
                rows.append([", ".join(map(str, levels)), values, *cells])
    yield aligned(("levels", "values", "MB", "write s", "read s", "read 0.9 s"), rows, left=2)


def budgets(given: argparse.Namespace) -> Iterator[str]:
    """Tables: each random budget with what its transcription took, and how many were met."""
    from parp_fairseq.checkpoints.finetuned import open_finetuned
    from parp_fairseq.checkpoints.sparse_file import level_bytes
    from parp_fairseq.export.sparse_export import export_sparse
    from parp_fairseq.inference.budget import level_costs

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint, file = given.trained or folder / "checkpoint.pt", folder / "all.safetensors"
        if not given.trained:
            torch.save(fine_tuned(given.quick, (0.5, 0.7, 0.9)), checkpoint)
        export_sparse(checkpoint, file)
        # The least of several measurements: other work on the machine only adds.
        rounds = [level_costs(file) for _ in range(given.rounds)]
        costs = [min(level, key=lambda cost: cost.milliseconds) for level in zip(*rounds)]
        # What a level takes of the disk is told by a file that holds no denser one.
        sizes = {open_finetuned(file).sparsity: file.stat().st_size}
        for cost in costs[1:]:
            export_sparse(file, folder / "cut.safetensors", sparsity=cost.sparsity, force=True)
            sizes[cost.sparsity] = (folder / "cut.safetensors").stat().st_size
        audio, draw = noise(folder / "noise.wav", 60), np.random.default_rng(1)
        read = level_bytes(file)
        kinds = {
            "ms": (costs[-1].milliseconds, 1.3 * costs[0].milliseconds),
            "MB": (read[-1] / 1e6, 1.1 * read[0] / 1e6),
        }
        for unit, (least, most) in kinds.items():
            rows, ratios = [], []
            for budget in sorted(draw.uniform(least, most, 20)):
                text = f"{budget:.4f}{unit}"
                command = [*map(str, (PARP, "transcribe", file, audio, "--budget", text))]
                said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
                chosen = re.search(r"sparsity ([\d.]+) takes", said)
                if chosen is None:  # no level meets it; anything else ends the bench
                    rows.append([text, "refused", re.search(r"takes ([\d.]+)", said)[1], ""])
                    continue
                computed = float(re.search(r"computed in ([\d.]+) s", said)[1])
                taken = sizes[float(chosen[1])] / 1e6 if unit == "MB" else 1e3 * computed / 60
                ratios.append(taken / budget)
                rows.append([text, chosen[1], f"{taken:.2f}", f"{ratios[-1]:.2f}"])
            yield aligned(("budget", "level", f"took {unit}", "of it"), rows)
            met = sum(ratio <= 1.1 for ratio in ratios)
            refused = len(rows) - len(ratios)
            yield f"{met} of {len(rows)} met within 10%, {refused} refused\n"


def main() -> None:
    """Run a bench; print its tables and the machine."""
    made = (reprune, training, engine, transcribe, sizes, budgets)
    benches = {bench.__name__: bench for bench in made}
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("bench", choices=benches)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sparsity", type=float, nargs="+", help="of reprune (one) and engine")
    parser.add_argument("--quick", action="store_true", help="a small model, to try the script")
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--trained", type=Path, help="of engine and budgets: a trained checkpoint")
    parser.add_argument("--data", type=Path, help="its manifests, test-clean and dev-clean")
    given = parser.parse_args()
    many = [0.8, 0.9, 0.95] if given.bench == "engine" else [0.5]
    given.sparsity = given.sparsity or many
    if given.one_thread:
        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"
    for text in benches[given.bench](given):
        print(text, flush=True)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(": ")[1] for line in lines if "model name" in line), "")
    print(
        f"{given.rounds} rounds; kernels {native.level()}; {name}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads; Python {platform.python_version()}, torch "
        f"{torch.__version__}; load {os.getloadavg()[0]:.1f} at the end"
    )


if __name__ == "__main__":
    main()
