"""Runs of fairseq-hydra-train, each in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import re
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

PRUNABLE = re.compile(r"encoder\.layers\.\d+\.(self_attn\.[kvq]_proj|self_attn\.out_proj|fc[12])")

# A child is forked from a server that has imported fairseq once: that alone takes five seconds.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["fairseq_cli.hydra_train"])

# Small and without chance: nothing is dropped or masked, so that runs can be compared bit by bit.
QUICK = (
    "dataset.valid_subset=dev-other",
    "dataset.max_tokens=160000",
    "common.log_interval=1",
    "optimization.max_update=6",
    "dataset.validate_interval_updates=0",
    "checkpoint.save_interval_updates=0",
)
# The command of the README, and what a test on two cores needs beyond it.
MAIN_JOB = (
    "fairseq-hydra-train --config-name parp_10min common.user_dir=parp_fairseq task.data=DIR "
    "model.w2v_path=wav2vec_small.pt"
)
SMALL = (
    *(option for option in QUICK if "validate" not in option),
    *("common.cpu=true", "dataset.num_workers=0", "model.mask_channel_length=16"),
    *("optimization.update_freq=[1]", "dataset.validate_after_updates=0"),
    "hydra.run.dir=runs/parp_10min/parp_0.5_seed2337",
)
NO_CHANCE = ("model.apply_mask=false", "model.activation_dropout=0", "model.mask_channel_prob=0")


def _train(arguments: list[str], folder: str, log: str, largest: int | None) -> None:
    os.chdir(folder)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    with open(log, "w") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
        torch.set_num_threads(1)
        sys.argv = ["fairseq-hydra-train", *arguments]
        from fairseq_cli.hydra_train import cli_main

        cli_main()


@dataclass
class Run:
    """A training that has ended."""

    code: int
    folder: Path
    output: str

    @property
    def error(self) -> str:
        """The one line that a user is told; empty if there is none."""
        lines = [line for line in self.output.splitlines() if line.startswith("parp: error: ")]
        return lines[0] if len(lines) == 1 else ""

    @property
    def tail(self) -> str:
        """The end of the output, for a failed test's report."""
        return "\n".join(line[:200] for line in self.output.splitlines()[-12:])

    def checkpoint(self, name: str = "checkpoint_last.pt") -> dict:
        """A checkpoint, opened with plain torch."""
        return torch.load(self.folder / "checkpoints" / name, weights_only=True)

    def weights(self, name: str = "checkpoint_last.pt") -> dict[str, torch.Tensor]:
        """Its model's tensors."""
        return self.checkpoint(name)["model"]

    def prunable(self, name: str = "checkpoint_last.pt") -> dict[str, torch.Tensor]:
        """Its prunable weights, told by a pattern of the tests' own."""
        return {
            key: tensor
            for key, tensor in self.weights(name).items()
            if PRUNABLE.search(key) and key.endswith(".weight")
        }

    def meters(self, kind: str) -> list[dict]:
        """Rows of the JSON log with this tag, such as train_inner or dev-other."""
        row = re.compile(rf"\[{re.escape(kind)}\]\[INFO\] - (\{{.*\}})$")
        found = (row.search(line) for line in self.output.splitlines())
        return [json.loads(match[1]) for match in found if match]


def zeros(tensors: dict[str, torch.Tensor]) -> int:
    """Count the entries that are exactly zero."""
    return sum(int((tensor == 0).sum()) for tensor in tensors.values())


def entries(tensors: dict[str, torch.Tensor]) -> int:
    """Count all entries."""
    return sum(tensor.numel() for tensor in tensors.values())


class Trainer:
    """Starts trainings in a folder of their own."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.data = data

    def __call__(
        self,
        *overrides: str,
        config: str = "parp_demo",
        config_dir: Sequence[str] = (),
        quick: bool = True,
        wait: bool = True,
        largest: int | None = None,
        flags: Sequence[str] = (),
    ):
        """Train in `folder`/run; return the Run, or the running process with `wait=False`.

        With `config_dir` ("--config-dir", folder) the plugin stays out of it. `largest` is the
        size in bytes beyond which a file cannot grow; `flags` are Hydra's own.
        """
        run = self.folder / "run"
        arguments = [
            *flags,
            "--config-name",
            config,
            *config_dir,
            *(() if config_dir else ("common.user_dir=parp_fairseq",)),
            f"task.data={self.data}",
            f"hydra.run.dir={run}",
            *(QUICK if quick else ()),
        ]
        given = {override.split("=")[0].lstrip("+~") for override in overrides}
        arguments = [a for a in arguments if a.split("=")[0] not in given] + list(overrides)
        log = self.folder / "output.log"
        process = _SERVER.Process(
            target=_train, args=(arguments, str(self.folder), str(log), largest)
        )
        process.start()
        if not wait:
            return process
        process.join()
        return self.ended(process)

    def ended(self, process) -> Run:
        """The Run of a process that has ended."""
        process.join()
        output = (self.folder / "output.log").read_text(errors="replace")
        return Run(process.exitcode, self.folder / "run", output)

    def refusal(self, *overrides: str, config: str = "parp_demo") -> str:
        """What the same command, in this process, is refused with, up to the built model.

        Hydra's own part is left out; an empty string means that it would train.
        """
        from fairseq import tasks
        from fairseq.dataclass.initialize import hydra_init
        from hydra.core.global_hydra import GlobalHydra

        import parp_fairseq.optim
        import parp_fairseq.tasks.launch
        from parp_fairseq.config import shipped

        try:
            from hydra import compose, initialize_config_dir
        except ImportError:  # Hydra 1.0, of fairseq 0.12.2
            from hydra.experimental import compose, initialize_config_dir

        hydra_init(config)
        GlobalHydra.instance().clear()
        given = {override.split("=")[0].lstrip("+~") for override in overrides}
        plain = (
            *(f"task.data={self.data}", f"task.folder={self.folder}"),
            *(f"checkpoint.save_dir={self.folder / 'run' / 'checkpoints'}", *QUICK),
        )
        with initialize_config_dir(str(shipped.FOLDER)):
            used = [one for one in plain if one.split("=")[0] not in given]
            cfg = compose(config, [*used, *overrides])

        def build(run):
            tasks.setup_task(run.task).build_model(run.model)

        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                parp_fairseq.tasks.launch.launch(cfg, build)
            except SystemExit as error:
                assert error.code == 2
                lines = said.getvalue().splitlines()
                # Where there is no compiler, a line before it says that kernels are not built.
                (line,) = [line for line in lines if not line.startswith("parp: the kernels")]
                return line[len("parp: error: ") :]
        return ""
