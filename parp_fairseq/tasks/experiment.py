"""What a run is made of: checked before it starts, and compared when it goes on."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.files import sha256
from parp_fairseq.manifests.check.split import CheckedManifest, check_lengths, check_manifest
from parp_fairseq.runs.settings import Difference, differences, is_path, listed, refusal
from parp_fairseq.tasks import config as prune_config
from parp_fairseq.tasks.dictionary import check_unchanged, dictionary_file, override
from parp_fairseq.tasks.inputs import check_pretrained, settle_paths
from parp_fairseq.tasks.refusals import refuse_unsupported
from parp_fairseq.tasks.restart import check_restart

logger = logging.getLogger(__name__)

CONTENTS_KEY = "parp_contents"
"""Where the task `parp` keeps in `task_state` what its inputs held, as digests."""


@dataclass(frozen=True)
class Experiment:
    """A run that may start.

    Attributes:
        contents: what is read → the SHA-256 of what it holds.
        updates: updates made already.
        complete: whether none is left to do.
        changed: what is not as it was when the run began; only where the user wants it so.
    """

    contents: Mapping[str, str]
    updates: int = 0
    complete: bool = False
    changed: tuple[Difference, ...] = ()


def check_experiment(task: DictConfig, model: DictConfig, run: DictConfig) -> Experiment:
    """Check all that can be checked before a model is built.

    Args:
        task: the task's config; its paths are made absolute, as are those of the others.
        model: the model's config.
        run: the whole config.

    Raises:
        UserError: names the first option, file or row that is wrong, or how the run differs from
            the one that its folder holds.
    """
    prune_config.check(task.prune)
    settle_paths(task, model, run)
    refuse_unsupported(run, task.prune.method)
    manifests = _check_manifests(task, model, run)
    check_pretrained(model.w2v_path, task.normalize)
    contents = _contents(task, model, run, manifests)
    restart = check_restart(run.checkpoint)
    if restart.weights is not None:
        check_unchanged(restart.weights, dictionary_file(task))
    changed: dict[str, Difference] = {}
    settings = _plain(run, task, model)
    for state in restart.experiments:
        old = (state.get("task_state") or {}).get(CONTENTS_KEY)
        if old is None:
            logger.warning("this run's checkpoint does not say which data it was trained on")
        of_both = {"old": old or {}, "new": contents}
        for difference in differences(_saved_settings(state), settings, of_both):
            changed.setdefault(difference.key, difference)
    wrong = refusal(list(changed.values()), task.prune.method, task.resume_with_changes)
    if wrong:
        raise UserError(wrong)
    if changed:
        logger.warning(f"task.resume_with_changes: {listed(list(changed.values()))}")
    total = run.optimization.max_update
    return Experiment(
        contents,
        restart.updates,
        # fairseq would add an update to a run that is resumed at its end.
        complete=0 < total <= restart.updates,
        changed=tuple(changed.values()),
    )


def completed(experiment: Experiment, run: DictConfig) -> str:
    """What to say of a run that has nothing left to do."""
    return (
        f"this run is complete: {experiment.updates:,} of {run.optimization.max_update:,} updates; "
        "another one goes into another folder (hydra.run.dir=…)"
    )


def _check_manifests(
    task: DictConfig, model: DictConfig, run: DictConfig
) -> list[tuple[str, CheckedManifest]]:
    dictionary = dictionary_file(task)
    symbols = read_dictionary(dictionary) if override(task) else None
    train = run.dataset.train_subset
    checked = []
    for split in (train, *run.dataset.valid_subset.split(",")):
        manifest = check_manifest(
            Path(task.data),
            split,
            task.labels,
            symbols=symbols,
            symbols_from=str(dictionary),
            training=split == train,
            mask_length=model.mask_length if model.apply_mask else 0,
        )
        # fairseq ends in an assertion: in the validation set at the first validation.
        limit = "max_tokens" if split == train else "max_tokens_valid"
        if split == train or not run.dataset.disable_validation:
            check_lengths(manifest, run.dataset[limit], f"dataset.{limit}")
        checked.append(("training set" if split == train else "validation set", manifest))
    return checked


def _contents(
    task: DictConfig,
    model: DictConfig,
    run: DictConfig,
    manifests: list[tuple[str, CheckedManifest]],
) -> dict[str, str]:
    """Digests of what a run reads, whatever the files are called and wherever they lie."""
    rows: dict[str, list[str]] = {}
    for role, manifest in manifests:
        rows.setdefault(f"the {role}'s audio", []).extend(
            f"{_place(row.path)}\t{row.frames}" for row in manifest.manifest.rows
        )
        rows.setdefault(f"the {role}'s labels", []).extend(manifest.labels)
    digests = {name: _digest(lines) for name, lines in rows.items()}
    files = {
        "model.w2v_path": model.w2v_path,
        "task.prune.mask": task.prune.mask,
        "task.prune.initial": task.prune.initial if is_path(task.prune.initial) else None,
        "checkpoint.finetune_from_model": run.checkpoint.finetune_from_model,
    }
    for key, path in files.items():
        # One that is no longer there is told of by those who need it.
        if path and os.path.isfile(path):
            digests[key] = _of_file(path, os.stat(path).st_mtime_ns)
    return digests


def _place(path: str) -> str:
    """A row's path; of an absolute one the name alone, since the audio may have moved."""
    return os.path.basename(path) if os.path.isabs(path) else path


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


@functools.lru_cache
def _of_file(path: str, _changed: int) -> str:
    return sha256(path)


def _plain(run: DictConfig, task: DictConfig, model: DictConfig) -> dict[str, Any]:
    plain = _resolved(run)
    # The task's and the model's own, which are more complete than the copies in the whole.
    plain["task"] = {**plain.get("task", {}), **_resolved(task)}
    plain["model"] = {**plain.get("model", {}), **_resolved(model)}
    return plain


def _saved_settings(state: Mapping[str, Any]) -> dict[str, Any]:
    settings = dict(state.get("cfg") or {})
    model = dict(settings.get("model") or {})
    # Objects of the pre-trained file; that file is compared by what it holds.
    model.pop("w2v_args", None)
    return _resolved(OmegaConf.create({**settings, "model": model}))


def _resolved(config: DictConfig) -> dict[str, Any]:
    try:
        return OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    except Exception:
        # An interpolation that leads nowhere belongs to a part that nothing reads.
        return OmegaConf.to_container(config, resolve=False, enum_to_str=True)
