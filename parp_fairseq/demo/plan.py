"""What the demo runs: every number that is not in `config/parp_demo.yaml` stands here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import yaml

from parp_fairseq.config import shipped as configs
from parp_fairseq.errors import UserError

CONFIG = "parp_demo"
DATA = "data"
RUNS = "runs"
HIGH_SPARSITY = 0.9
LOW_SPARSITY = 0.1
FAST_UPDATES = 250
VALIDATION = "dev-clean"
TEST = "test-clean"

# Utterances of about three seconds: not quite an hour to train on. The manifest builder asks for
# dev-other. Multiples of 8 for what is decoded: fairseq's infer may leave the rest of a batch out.
UTTERANCES: Mapping[str, int] = {
    **{f"1h/{fold}/clean": 200 for fold in range(6)},
    "dev-other": 8,
    VALIDATION: 96,
    TEST: 96,
}


@dataclass(frozen=True)
class PlannedRun:
    """One fine-tuning.

    Attributes:
        method: `task.prune.method`.
        sparsity: `task.prune.sparsity`, in [0, 1].
        seed: `common.seed`.
        mask_from: name of the run whose last checkpoint gives OMP's mask.
    """

    method: str
    sparsity: float
    seed: int
    mask_from: str | None = None

    @property
    def name(self) -> str:
        """Its folder's name."""
        sparsity = "" if self.method == "dense" else f"_{self.sparsity:g}"
        return f"{self.method}{sparsity}_seed{self.seed}"

    @property
    def folder(self) -> str:
        """Its folder, seen from the demo's."""
        return f"{RUNS}/{self.name}"

    @property
    def checkpoint(self) -> str:
        """The checkpoint after its last update: the subnetwork at update N."""
        return f"{self.folder}/checkpoints/checkpoint_last.pt"


@dataclass(frozen=True)
class Plan:
    """All that a demo does.

    Attributes:
        runs: fine-tunings; one that others need for their mask stands before them.
        updates: of each run.
        utterances: part of the synthetic corpus → number of utterances.
        per_speaker: utterances of a speaker.
        speech_seed: seed of the corpus.
        subset: which of Libri-light's sets is trained on.
        overrides: of the config, for every run.
        valid: the set that settings were chosen on.
        test: the set that was left alone until the end.
    """

    runs: tuple[PlannedRun, ...]
    updates: int
    utterances: Mapping[str, int] = field(default_factory=lambda: dict(UTTERANCES))
    per_speaker: int = 4
    speech_seed: int = 1
    subset: str = "1h"
    overrides: tuple[str, ...] = ()
    valid: str = VALIDATION
    test: str = TEST

    @property
    def data(self) -> str:
        """The folder with the manifests, seen from the demo's."""
        return f"{DATA}/{self.subset}"

    @property
    def splits(self) -> tuple[str, ...]:
        """The sets to decode."""
        return (self.valid, self.test)

    def training(self, run: PlannedRun) -> list[str]:
        """The arguments of fairseq-hydra-train that make a run, given in the demo's folder."""
        mask = []
        if run.mask_from is not None:
            source = next(other for other in self.runs if other.name == run.mask_from)
            mask = [f"task.prune.mask={source.checkpoint}"]
        return [
            "--config-name",
            CONFIG,
            "common.user_dir=parp_fairseq",
            f"task.data={self.data}",
            f"dataset.valid_subset={self.valid}",
            f"hydra.run.dir={run.folder}",
            f"common.seed={run.seed}",
            f"task.prune.method={run.method}",
            f"task.prune.sparsity={run.sparsity:g}",
            *mask,
            *self.overrides,
        ]

    @property
    def cross_checked(self) -> PlannedRun:
        """The run that fairseq's own infer decodes too, on the test set."""
        return next((run for run in self.runs if run.method == "parp"), self.runs[0])

    def infer(self, folder: str) -> list[str]:
        """The arguments of fairseq's infer for that run; `folder` is the demo's, in full.

        They name every path in full because Hydra changes the folder.
        """
        run = self.cross_checked
        results = f"{folder}/{run.folder}/infer"
        return [
            "task=audio_finetuning",
            f"task.data={folder}/{self.data}",
            "task.labels=ltr",
            "decoding.type=viterbi",
            f"decoding.results_path={results}",
            f"common_eval.path={folder}/{run.checkpoint}",
            f"common_eval.results_path={results}",
            "common_eval.post_process=letter",
            "common_eval.quiet=true",
            "common.user_dir=null",
            "common.cpu=true",
            f"dataset.gen_subset={self.test}",
            # Its default is 8, which leaves an uneven last batch out (fairseq-fixed).
            "dataset.required_batch_size_multiple=1",
            f"hydra.run.dir={results}",
        ]

    def decoding(self, run: PlannedRun, split: str) -> list[str]:
        """The arguments of `parp` that decode a run, given in the demo's folder."""
        return [
            "eval",
            run.checkpoint,
            "--data",
            self.data,
            "--split",
            split,
            "--device",
            "cpu",
            "--workers",
            "0",
            "--json",
            f"{run.folder}/eval/{split}.json",
        ]


def make_plan(*, fast: bool = False, seeds: int = 1) -> Plan:
    """Return the demo's plan.

    Args:
        fast: dense and PARP alone, with fewer updates.
        seeds: every method with the seeds 1 to this.

    Raises:
        UserError: fewer seeds than one, or more than a thousand.
    """
    if not 1 <= seeds <= 1000:
        raise UserError(f"--seeds is {seeds}; give 1 to 1000")
    runs = []
    for seed in range(1, seeds + 1):
        dense = PlannedRun("dense", 0.0, seed)
        runs += [dense, PlannedRun("parp", HIGH_SPARSITY, seed)]
        if fast:
            continue
        runs += [
            PlannedRun("omp", HIGH_SPARSITY, seed, mask_from=dense.name),
            *(PlannedRun(method, HIGH_SPARSITY, seed) for method in ("parp_p", "mpi", "rp")),
            PlannedRun("parp", LOW_SPARSITY, seed),
        ]
    optimization = yaml.safe_load(configs.path_of(CONFIG).read_text(encoding="utf-8"))[
        "optimization"
    ]
    plan = Plan(tuple(runs), optimization["max_update"])
    return with_updates(plan, FAST_UPDATES) if fast else plan


def with_updates(plan: Plan, updates: int) -> Plan:
    """The same plan with another number of updates, and as many validations as make a curve."""
    often = max(1, updates // 4)
    return replace(
        plan,
        updates=updates,
        overrides=(
            *plan.overrides,
            f"optimization.max_update={updates}",
            f"dataset.validate_interval_updates={often}",
            f"checkpoint.save_interval_updates={often}",
        ),
    )
