#!/usr/bin/env python3
"""Is a GPU's subnetwork the CPU's? Needs torch, numpy and transformers; fairseq is used if found.

scripts/gpu_check.sh starts it. Each part prints a line; the exit code is 1 where one fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from parp_fairseq.pruning import Pruner, SparsitySchedule, magnitude_mask, random_mask

SPARSITY, UPDATES, SAVED, KILLED = 0.7, 20, 5, 12
ROOT = Path(__file__).resolve().parents[1]


def layers(width: int, count: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random weights of `count` transformer layers; with 16 bits many magnitudes are equal."""
    draw = torch.Generator().manual_seed(1)
    shapes = {**dict.fromkeys("qkvo", (width, width)), "1": (4 * width, width)}
    shapes["2"] = (width, 4 * width)
    return {
        f"{layer}.{name}": (0.02 * torch.randn(shape, generator=draw)).to(dtype)
        for layer in range(count)
        for name, shape in shapes.items()
    }


def same_masks(device: str, width: int) -> Iterator[str]:
    """Masks made on the device, compared with those of the CPU bit by bit."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        here = layers(width, 12, dtype)
        there = {name: tensor.to(device) for name, tensor in here.items()}
        for granularity in ("global", "tensor"):
            for sparsity in (0.1, 0.5, 0.9):
                one = magnitude_mask(here, sparsity, granularity)
                other = magnitude_mask(there, sparsity, granularity)
                assert one.equal(other), f"{dtype}, {granularity}, sparsity {sparsity}"
        assert random_mask(here, 0.5, seed=1).equal(random_mask(there, 0.5, seed=1)), dtype
        entries = sum(tensor.numel() for tensor in here.values())
        yield f"{str(dtype)[6:]}: 7 masks of {entries:,} entries are equal"


def seconds(device: str, action, rounds: int = 10) -> float:
    """The median of several rounds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[rounds // 2]


def time_events(device: str, width: int) -> Iterator[str]:
    """How long a pruning takes, and zeroing the same weights with a known threshold."""
    weights = {n: t.to(device) for n, t in layers(width, 12, torch.float32).items()}
    theta = {name: weight.clone() for name, weight in weights.items()}
    pruner = Pruner(SparsitySchedule(final=SPARSITY), interval=1, total_updates=10**6)
    pruner.start(weights, magnitude_mask(weights, SPARSITY))
    update = 0

    def event() -> None:
        nonlocal update
        for name, weight in weights.items():
            weight.copy_(theta[name])
        pruner.begin_update(0, update)
        update += 1
        pruner.end_update(update)

    def shrink() -> None:
        for name, weight in weights.items():
            weight.copy_(hardshrink(theta[name], pruner.threshold))

    event()
    times = [1000 * seconds(device, action) for action in (event, shrink)]
    yield "a pruning {:.1f} ms, hardshrink with its threshold {:.1f} ms".format(*times)


def train(out: str, precision: str, device: str, kill_at: int) -> None:
    """A small training of a wav2vec 2.0 model on noise; killed with SIGKILL after an update."""
    from transformers import (
        Trainer,
        TrainerCallback,
        TrainingArguments,
        Wav2Vec2Config,
        Wav2Vec2ForSequenceClassification,
    )

    from parp_fairseq.hf import PruningCallback

    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    torch.use_deterministic_algorithms(True)
    torch.manual_seed(1)
    data = [{"input_values": torch.randn(4000), "labels": n % 2} for n in range(64)]
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Wav2Vec2Config(
        **{**sizes, "intermediate_size": 128, "conv_dim": (32,) * 7, "mask_time_prob": 0.0}
    )
    arguments = TrainingArguments(
        **{"output_dir": out, "max_steps": UPDATES, "save_steps": SAVED, "learning_rate": 1e-3},
        **{"per_device_train_batch_size": 4, "logging_steps": UPDATES, "report_to": [], "seed": 1},
        **{"use_cpu": device == "cpu", "bf16": precision == "bf16", "fp16": precision == "fp16"},
        **{"disable_tqdm": True},
    )
    prune = PruningCallback("parp", SPARSITY, interval=3)
    callbacks = [prune, Kill()] if kill_at else [prune]
    model = Wav2Vec2ForSequenceClassification(config)
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=any(Path(out).glob("checkpoint-*")))
    assert prune.mask is not None
    pruned = prune.mask.numel - prune.mask.kept
    assert pruned == round(SPARSITY * prune.mask.numel), f"{pruned} of {prune.mask.numel}"
    trainer.save_model(f"{out}/end")


def resumed(device: str) -> Iterator[str]:
    """Trainings in low precision, killed and resumed, compared with uninterrupted ones."""
    from safetensors.torch import load_file

    for precision in ("bf16",) if device == "cpu" else ("bf16", "fp16"):
        with tempfile.TemporaryDirectory() as folder:
            ends = []
            for out, kills in (("whole", [0]), ("killed", [KILLED, 0])):
                for kill_at in kills:
                    command = [sys.executable, __file__, "--device", device, "--train"]
                    command += [f"{folder}/{out}", precision, str(kill_at)]
                    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
                    done = subprocess.run(command, capture_output=True, env=environment, text=True)
                    wanted = -signal.SIGKILL if kill_at else 0
                    assert done.returncode == wanted, done.stderr[-2000:]
                ends.append(load_file(f"{folder}/{out}/end/model.safetensors"))
            one, other = ends
            differ = [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
            assert not differ, f"{precision}: {len(differ)} tensors differ, such as {differ[:3]}"
            yield f"{precision}: killed after update {KILLED} of {UPDATES}, ends with equal weights"


def main_job(device: str) -> Iterator[str]:
    """fairseq-hydra-train in fp16 on a model and noise made here; what it saves is sparse."""
    if importlib.util.find_spec("fairseq") is None:
        yield "left out: fairseq cannot be imported"
        return
    import numpy as np
    import soundfile

    from parp_fairseq.checkpoints.safe_load import load_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        draw = np.random.default_rng(1)
        rows = ["path\ttext\tsplit"]
        for n in range(12):
            soundfile.write(f"{folder}/{n}.wav", draw.uniform(-0.1, 0.1, 16000), 16000)
            rows.append(f"{n}.wav\tab ba\t{'train' if n < 8 else 'valid'}")
        Path(folder, "table.tsv").write_text("\n".join([*rows, ""]))
        programs = Path(sys.executable).parent
        build = [f"{programs}/parp", "manifest", "table", "table.tsv", "--out", "data"]
        run = [f"{programs}/fairseq-hydra-train", "--config-name", "parp_demo"]
        run += ["common.user_dir=parp_fairseq", "task.data=data", "model.w2v_path=tiny"]
        run += ["dataset.valid_subset=valid", "optimization.max_update=12", "hydra.run.dir=run"]
        run += ["task.prune.interval=5", f"task.prune.sparsity={SPARSITY}"]
        if device != "cpu":
            run += ["common.cpu=false", "common.fp16=true"]
        for command in (build, run):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
        saved = load_checkpoint(f"{folder}/run/checkpoints/checkpoint_last.pt")["model"]
        parts = re.compile(r".*\.layers\..*(_proj|fc1|fc2)\.weight")
        weights = torch.cat([saved[name].flatten() for name in saved if parts.fullmatch(name)])
        entries, zeros = len(weights), int((weights == 0).sum())
        assert zeros == round(SPARSITY * entries), f"{zeros} of {entries} weights are zero"
        yield f"fairseq-hydra-train: {zeros:,} of {entries:,} weights of its checkpoint are zero"


def main() -> int:
    """Run the parts; return 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the script")
    parser.add_argument("--width", type=int, default=768, help="of the layers whose masks are made")
    parser.add_argument("--train", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        out, precision, kill_at = options.train
        train(out, precision, options.device, int(kill_at))
        return 0
    if options.device != "cpu":
        if not torch.cuda.is_available():
            print("no GPU can be seen; --device cpu tries the script without one", file=sys.stderr)
            return 2
        print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}")
    failed = 0
    for part, lines in (
        ("masks", same_masks(options.device, options.width)),
        ("time", time_events(options.device, options.width)),
        ("resume", resumed(options.device)),
        ("main job", main_job(options.device)),
    ):
        try:
            for line in lines:
                print(f"{part:10s}{line}", flush=True)
        except Exception as error:
            failed = 1
            print(f"{part:10s}FAILED: {type(error).__name__}: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
