"""The command lines of a run: what trains it, makes its mask and scores it.

They are given in one folder, the grid's work folder, which all paths are relative to.
"""

from __future__ import annotations

import shlex

from parp_fairseq.config import shipped
from parp_fairseq.errors import UserError
from parp_fairseq.grid.setups import IMP, Run
from parp_fairseq.runs.imp import FINAL
from parp_fairseq.runs.names import BEST, CHECKPOINTS, LAST, MASK_FILE, SCORES_FOLDER
from parp_fairseq.runs.side_by_side import ONE_THREAD

# parp imp's own options; the others are keys under task.prune.
_OF_IMP = ("rewind_update", "round_updates")
WITHOUT_TRAINING = ("mpi", "rp", "omp")
"""Methods whose mask is made of a checkpoint that is there, whatever their own run does."""
_INTERVAL_FILES = "checkpoint_[0-9]*_*.pt"
# With fewer GPUs than processes fairseq waits for the missing ones without a word.
_CHECK_GPUS = """
import sys, torch
found = torch.cuda.device_count()
if found < {0}:
    sys.exit(f"the run needs {0} GPUs and {{found}} can be seen; --config gpus=N keeps its batch")
"""


def folder(run: Run) -> str:
    """The folder of a run; of a series of IMP, that of its last fine-tuning."""
    return f"runs/{run.name}/{FINAL}" if run.method == IMP else f"runs/{run.name}"


def checkpoint(run: Run, name: str = LAST) -> str:
    """One of its checkpoints."""
    return f"{folder(run)}/{CHECKPOINTS}/{name}"


def scores(run: Run) -> str:
    """The file with the scores of its subnetwork; a run that has it is finished."""
    return f"{folder(run)}/{SCORES_FOLDER}/scores.json"


def theta_scores(run: Run) -> str:
    """The file with the scores of θ in the checkpoints that it keeps on the way."""
    return f"{folder(run)}/{SCORES_FOLDER}/theta.json"


def mask_file(run: Run) -> str:
    """The mask that a run ends with: a file of its own where no training writes it."""
    if run.method in WITHOUT_TRAINING:
        return f"masks/{run.name}.safetensors"
    return checkpoint(run, MASK_FILE)


def training(run: Run) -> list[str]:
    """The program that trains it and its arguments."""
    setup = run.setup
    common = [
        shipped.override("task.data", setup.data),
        shipped.override("model.w2v_path", setup.model),
        f"dataset.valid_subset={setup.valid}",
        f"common.seed={run.seed}",
        *(shipped.overrides_for_gpus(setup.config, setup.gpus) if setup.gpus else ()),
        *setup.overrides,
    ]
    for key, value in run.options:
        if run.method != IMP or key not in _OF_IMP:
            common.append(shipped.override(f"task.prune.{key}", value))
    config = ["--config-name", setup.config]
    if run.method == IMP:
        series = ["--out", f"runs/{run.name}", "--sparsity", f"{run.sparsity:g}"]
        for key, value in run.options:
            if key in _OF_IMP:
                series += [f"--{key.replace('_', '-')}", str(value)]
        return ["parp", "imp", *config, *series, *common]
    own = [
        "common.user_dir=parp_fairseq",
        shipped.override("hydra.run.dir", folder(run)),
        f"task.prune.method={run.method}",
        f"task.prune.sparsity={run.sparsity:g}",
    ]
    if run.given_mask is not None:
        key = "mask" if run.method == "mask" else "initial"
        own.append(shipped.override(f"task.prune.{key}", mask_file(run.given_mask)))
    elif run.needs is not None:
        own.append(shipped.override("task.prune.mask", checkpoint(run.needs)))
    if run.checkpoints:
        first, every = run.checkpoints
        own += [
            f"checkpoint.save_interval_updates={every}",
            "checkpoint.keep_interval_updates=-1",
            f"dataset.validate_interval_updates={every}",
            f"dataset.validate_after_updates={first}",
        ]
    return ["fairseq-hydra-train", *config, *common, *own]


def scoring(run: Run, weights: str = "subnetwork") -> list[str]:
    """`parp eval` of its last checkpoint, or of several where it keeps them."""
    file = theta_scores(run) if weights == "theta" else scores(run)
    names = (
        [_INTERVAL_FILES] if weights == "theta" else [LAST, *([BEST] if run.checkpoints else [])]
    )
    return [
        *("parp", "eval", *(checkpoint(run, name) for name in names), "--data", run.setup.data),
        *("--split", ",".join(run.setup.splits), "--weights", weights, "--workers", "0"),
        *(() if run.setup.gpus else ("--device", "cpu")),
        *("--json", file, "--force"),
    ]


def making_mask(run: Run) -> list[str]:
    """`parp mask make` of the mask of OMP, MPI or RP, as training with the method makes it.

    Raises:
        UserError: the setup prunes in another way than `parp mask make` does by default.
    """
    if any(one.lstrip("+").startswith("task.prune.") for one in run.setup.overrides):
        raise UserError(f"setup {run.setup.name}: masks of overrides of task.prune are not made")
    source = run.setup.model if run.needs is None else checkpoint(run.needs)
    drawn = ("--method", "random", "--seed", str(run.seed)) if run.method == "rp" else ()
    arguments = ("--sparsity", f"{run.sparsity:g}", *drawn, "-o", mask_file(run))
    return ["parp", "mask", "make", source, *arguments]


def script(run: Run) -> str:
    """All of a run for a shell: rerun it to resume."""
    lines = [shlex.join(training(run)), f"mkdir -p {shlex.quote(f'{folder(run)}/{SCORES_FOLDER}')}"]
    if run.checkpoints:
        # The shell finds the checkpoints on the way, which go once θ is scored.
        found = shlex.join(scoring(run, "theta"))
        lines.append(found.replace(shlex.quote(checkpoint(run, _INTERVAL_FILES)), _glob(run)))
    # Last, since a run that has these scores is finished.
    lines.append(shlex.join(scoring(run)))
    if run.checkpoints:
        lines.append(f"rm {_glob(run)}")
    if run.setup.gpus:
        lines.insert(0, shlex.join(["python", "-c", _CHECK_GPUS.format(run.setup.gpus)]))
    variables = " ".join(f"{key}={value}" for key, value in ONE_THREAD.items())
    return f"export {variables}\n" + " &&\n".join(lines)


def _glob(run: Run) -> str:
    return shlex.quote(checkpoint(run, "")) + _INTERVAL_FILES
