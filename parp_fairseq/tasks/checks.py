"""All that can be checked of a run before a model is built."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY, _build_optimizer
from omegaconf import DictConfig, OmegaConf

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.checkpoints.fairseq_settings import config_section, describe_state
from parp_fairseq.checkpoints.formats import TINY, TINY_MODEL
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import sha256
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE
from parp_fairseq.manifests.check.split import CheckedManifest, check_lengths, check_manifest
from parp_fairseq.models.whisper_encoder import longest
from parp_fairseq.optim.parp import learning_rates
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.runs.names import LAST
from parp_fairseq.runs.settings import is_path
from parp_fairseq.tasks import config as prune_config
from parp_fairseq.tasks.resuming import check_dictionary, check_same_run, find_restart

logger = logging.getLogger(__name__)

# Unset, Hydra leaves these.
_MISSING = ("", "???", None)

_PATHS = (
    "task.data",
    "task.target_dictionary",
    "task.prune.mask",
    "model.w2v_path",
    "checkpoint.finetune_from_model",
    "checkpoint.continue_once",
)

# Of which runs, an option, the only value that is supported there, why.
_NEEDS = (
    ("all", "optimizer._name", "parp", "it holds the state; name another in optimizer.base"),
    ("all", "checkpoint.write_checkpoints_asynchronously", False, "fairseq saves no last or best"),
    ("all", "checkpoint.checkpoint_suffix", "", "a run finds its checkpoints by their plain names"),
    ("phones", "criterion.post_process", "none", "phones are not joined into words"),
    ("scored", "checkpoint.maximize_best_checkpoint_metric", False, "the worst would be the best"),
    ("pruning", "criterion._name", "parp_ctc", "it scores the subnetwork"),
    ("pruning", "common.tpu", False, "pruning on TPUs is not supported"),
    ("pruning", "ema.store_ema", False, "the moving average would not be pruned"),
    ("pruning", "optimization.use_bmuf", False, "block-momentum averaging would undo the zeros"),
    ("pruning", "distributed_training.zero_sharding", "none", "sharded state is not supported"),
)
# What CTC logs of a validation and can be best: nll_loss only where sentences are averaged.
_CTC_METRICS = ("loss", "uer", "wer", "raw_wer", "nll_loss")
# Names in a pre-trained file that the model lacks, and the other way round → what to do.
_MISFITS = (
    (r"> .*adapter", "it has adapters: set +model.layer_type=trf_adp, +model.adp_num, +.adp_dim"),
    (r"< .*adapter", "it has no adapters: leave model.layer_type out"),
    (r"> .*(ffn1|conv_module)", "it is a conformer: set +model.layer_type=conformer"),
    (r"< .*(ffn1|conv_module)", "it is no conformer: leave model.layer_type out"),
    (r"> .*\.parametrizations\.weight", "rename original0 and original1 to weight_g and weight_v"),
)
_WHOLE_MODEL = ("c10d", "pytorch_ddp", "legacy_ddp", "no_c10d")


def check_run(run: DictConfig) -> bool:
    """Check a run, and complete its configuration in place; return whether updates are left.

    Paths become absolute; `task.contents` gets digests of what the run reads and `task.changed`
    what differs from the run that it resumes (only where the user allows that). UserError names the
    first option, file or row that is wrong, or how the run differs from its folder's.
    """
    task = run.task
    prune_config.check(task.prune)
    settle_paths(run)
    prune_config.make_pruner(task.prune, run.optimization.max_update)
    refuse_unsupported(run)
    _check_updates(run)
    # A folder, or None: official 0.12.2 does not know this option.
    override = task.target_dictionary if "target_dictionary" in task else None
    dictionary = Path(override or task.data, f"dict.{task.labels}.txt")
    manifests = _check_manifests(run, dictionary, read_dictionary(dictionary) if override else None)
    _check_pretrained(run, manifests)
    task.contents = _contents(run, manifests)
    restart = find_restart(run.checkpoint)
    check_dictionary(restart.weights, dictionary)
    task.changed = check_same_run(run, restart.of_this_run)
    total = run.optimization.max_update
    if 0 < total <= restart.updates:
        # fairseq would add an update to a run that is resumed at its end.
        logger.info(
            f"this run is complete: {restart.updates:,} of {total:,} updates; start another one in "
            "another folder (hydra.run.dir=…)"
        )
        return False
    return True


def settle_paths(run: DictConfig) -> None:
    """Make the user's paths absolute: relative ones are resolved against the current directory.

    Hydra changes into the run folder before fairseq reads any of them. Raises UserError: task.data
    or model.w2v_path is not given.
    """
    folder = run.task.folder or os.getcwd()
    for section, key, what in (
        ("task", "data", "the folder with the manifests (task.data=DIR)"),
        ("model", "w2v_path", "the pre-trained checkpoint (model.w2v_path=FILE.pt)"),
    ):
        if OmegaConf.is_missing(run[section], key) or run[section].get(key) in _MISSING:
            raise UserError(f"{section}.{key} is missing: {what}")
    if run.model.w2v_path == TINY:
        run.model.w2v_path = str(TINY_MODEL)
    for option in _PATHS:
        _make_absolute(run, option, folder)
    run.model.data = run.task.data
    if os.path.exists(os.path.join(folder, run.task.prune.initial or "")):
        _make_absolute(run, "task.prune.initial", folder)
    restore = run.checkpoint.restore_file
    if restore != LAST:
        # A bare name is a file in the run's own folder of checkpoints, where there is one.
        own = os.path.abspath(run.checkpoint.save_dir)
        bare = os.sep not in restore and os.path.exists(os.path.join(own, restore))
        _make_absolute(run, "checkpoint.restore_file", own if bare else folder)


def _make_absolute(run: DictConfig, option: str, folder: str) -> None:
    *sections, key = option.split(".")
    node: Any = functools.reduce(lambda node, section: node[section], sections, run)
    # Official 0.12.2 knows fewer keys.
    if node.get(key):
        node[key] = os.path.normpath(os.path.join(folder, os.path.expanduser(node[key])))


def refuse_unsupported(run: DictConfig) -> None:
    """Raise UserError if a run could not keep its promises under these settings."""
    method, common, checkpoint = METHODS[run.task.prune.method], run.common, run.checkpoint
    base = (run.optimizer.get("base") or {}).get("_name")
    prunes = method.initial is not None
    validates = not (run.get("dataset") or {}).get("disable_validation")
    kinds = {
        "all": True,
        "phones": run.task.get("labels") == "phn",
        "scored": validates and run.criterion._name in ("parp_ctc", "ctc"),
        "pruning": prunes,
    }
    for kind, option, supported, why in _NEEDS:
        section, key = option.split(".")
        value = run[section].get(key) if kinds[kind] and section in run else supported
        # Unset is fairseq's default, which these two do not have.
        if value is None and key != "post_process" and option != "optimizer._name":
            value = supported
        if value != supported:
            raise UserError(f"{option}={value}: set {option}={supported} ({why})")
    updates, kept = run.optimization.get("max_update") or 0, run.task.get("keep_update") or 0
    epochs, interval = run.optimization.get("max_epoch") or 0, checkpoint.get("save_interval") or 1
    flat = not (common.get("memory_efficient_fp16") or common.get("fp16_no_flatten_grads"))
    backend = run.distributed_training.ddp_backend
    metric = checkpoint.get("best_checkpoint_metric")
    metrics = _CTC_METRICS if run.criterion.get("sentence_avg") else _CTC_METRICS[:-1]
    model = run.get("model") or {}
    for wrong, message in (
        (
            0 < updates < kept,
            f"task.keep_update is {kept}, and the run ends at update {updates}; set a smaller one",
        ),
        (
            # composite has learning rate schedules of its own, which the Trainer would not find.
            base not in set(OPTIMIZER_REGISTRY) - {"parp", "composite"},
            f"optimizer.base._name is {base!r}; name the fairseq optimizer that updates the "
            "weights, for example optimizer.base._name=adam",
        ),
        (
            # fairseq saves at the last update; at the last epoch only where it is time for a save.
            epochs > 0 >= updates and epochs % interval and not checkpoint.get("no_save"),
            f"checkpoint.save_interval={interval}: the run ends with epoch {epochs}, which would "
            f"not be saved; set checkpoint.save_interval={epochs}, or optimization.max_update",
        ),
        (
            common.fp16 and flat and (common.cpu or not torch.cuda.is_available()),
            "common.fp16=true: fairseq keeps its flat masters on a GPU and there is none; on a CPU "
            "set common.fp16=false, or common.bf16=true, or common.fp16_no_flatten_grads=true",
        ),
        (
            prunes and backend not in _WHOLE_MODEL,
            f"distributed_training.ddp_backend={backend}: weights are not whole on every worker; "
            "set distributed_training.ddp_backend=legacy_ddp",
        ),
        (
            kinds["scored"] and metric not in metrics,
            f"checkpoint.best_checkpoint_metric={metric}: a validation gives {', '.join(metrics)}",
        ),
        (
            model.get("layer_type") == "trf_adp" and model.get("adp_num", -1) < 1,
            "model.layer_type=trf_adp: set +model.adp_num to the number of adapters",
        ),
        (
            model.get("layer_decay", 1) < 1,
            f"model.layer_decay={model.get('layer_decay')}: fairseq has it for data2vec 2.0 only; "
            "leave it out",
        ),
        (
            method.ramps and checkpoint.patience > 0,
            f"checkpoint.patience={checkpoint.patience}: errors rise while the sparsity ramps up, "
            "so training would stop before the target; set checkpoint.patience=-1",
        ),
    ):
        if wrong:
            raise UserError(message)


def _check_updates(run: DictConfig) -> None:
    """Raise UserError where fairseq could not build optimizer or schedule, or count batches."""
    every = run.optimization.update_freq
    if not every or min(every) < 1:
        raise UserError(f"optimization.update_freq is {every}; each must be at least 1")
    try:
        section = "optimizer.base"
        _build_optimizer(run.optimizer.base, [torch.nn.Parameter(torch.zeros(1))])
        section = "lr_scheduler"
        learning_rates(run)
    except Exception as error:
        reason = f"{section}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if isinstance(error, AssertionError) and "add up" not in reason:
            reason = "optimization.max_update is too small for the phases of lr_scheduler"
        raise UserError(reason) from error


def _check_manifests(
    run: DictConfig, dictionary: Path, symbols: list[str] | None
) -> dict[str, list[CheckedManifest]]:
    train = run.dataset.train_subset
    checked: dict[str, list[CheckedManifest]] = {"training set": [], "validation set": []}
    for split in (train, *run.dataset.valid_subset.split(",")):
        manifest = check_manifest(
            Path(run.task.data),
            split,
            run.task.labels,
            symbols=symbols,
            symbols_from=str(dictionary),
            training=split == train,
            mask_length=run.model.mask_length if run.model.apply_mask else 0,
        )
        # fairseq ends in an assertion: in the validation set at the first validation.
        limit = "max_tokens" if split == train else "max_tokens_valid"
        if split == train or not run.dataset.disable_validation:
            check_lengths(manifest, run.dataset[limit], f"dataset.{limit}")
        checked["training set" if split == train else "validation set"].append(manifest)
    return checked


def _check_pretrained(run: DictConfig, manifests: dict[str, list[CheckedManifest]]) -> None:
    """Raise UserError where `model.w2v_path` is no pre-trained model for this run."""
    path, normalize = run.model.w2v_path, run.task.normalize
    state = load_checkpoint(path)
    if not state.get("optimizer_history", "best_loss" in state):
        raise UserError(
            f"{path}: its optimizer_history is empty, and fairseq opens no such checkpoint; give "
            "the one that fairseq saved"
        )
    info = describe_state(state)
    if info.finetuned:
        raise UserError(
            f"{path}: model.w2v_path is a fine-tuned model; give the pre-trained one there. To "
            "start from these weights use checkpoint.finetune_from_model, for their mask "
            "task.prune.method=omp with task.prune.mask"
        )
    if info.normalize is not None and info.normalize != normalize:
        raise UserError(
            f"{path}: this model was pre-trained with normalize={info.normalize} and "
            f"task.normalize is {normalize}; set task.normalize={str(info.normalize).lower()}"
        )
    if info.arch not in {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY}:
        raise UserError(f"{path} is of a model that fairseq does not know ({info.arch})")
    if info.kind == "parp_whisper":
        if run.model.apply_mask:
            raise UserError(
                f"{path}: Whisper's encoder has no span masks: set model.apply_mask=false"
            )
        most = longest(config_section(state, "model"))
        cut = (run.task.get("max_sample_size") or most + 1) <= most
        for role, of_role in manifests.items():
            if cut or (role == "validation set" and run.dataset.disable_validation):
                continue
            for tsv, number, row in (
                (one.tsv, number, row)
                for one in of_role
                for number, row in enumerate(one.manifest.rows, start=2)
                if row.frames > most
            ):
                raise UserError(
                    f"{tsv} row {number}: {row.path} is {row.frames / SAMPLE_RATE:.1f} s long, and "
                    f"Whisper's encoder takes {most / SAMPLE_RATE:.1f} s; cut the recording or "
                    "remove the row"
                )
    for name, tensor in state["model"].items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{path}: {name} holds NaN or infinity; give another checkpoint")


@contextlib.contextmanager
def misfit_named(path: str) -> Iterator[None]:
    """Say in one line where the pre-trained file `path` does not fit the model built inside."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "in loading state_dict" not in text:
            raise
        lacking, surplus = (
            re.findall(r'"([^"]+)"', "".join(re.findall(rf"{kind} key\(s\).*", text)))
            for kind in ("Missing", "Unexpected")
        )
        shapes = re.findall(r"size mismatch for (\S+):", text)
        told = (("it lacks", lacking), ("only it has", surplus), ("of another shape is", shapes))
        said = [
            f"{what} {found[0]}" + (f" and {len(found) - 1:,} more" if len(found) > 1 else "")
            for what, found in told
            if found
        ]
        signed = "\n".join([*(f"< {name}" for name in lacking), *(f"> {name}" for name in surplus)])
        ways = [way for pattern, way in _MISFITS if re.search(pattern, signed)]
        before = surplus[0].removesuffix(lacking[0]) if lacking and surplus else ""
        if before and {before + name for name in lacking} <= set(surplus):
            ways = [f"take {before!r} off the beginning of its names"]
        way = ways[0] if ways else "give the whole checkpoint, as fairseq saved it"
        raise UserError(
            f"{path}: model.w2v_path does not fit the model: {', '.join(said)}; {way}"
        ) from error


def _contents(run: DictConfig, manifests: dict[str, list[CheckedManifest]]) -> dict[str, str]:
    """What a run reads → its SHA-256, whatever the files are called and wherever they are."""
    digests = {}
    for role, checked in manifests.items():
        digests[f"the {role}'s audio"] = _digest(
            # Of an absolute path only the name, since the audio may have moved.
            f"{os.path.basename(row.path) if os.path.isabs(row.path) else row.path}\t{row.frames}"
            for manifest in checked
            for row in manifest.manifest.rows
        )
        digests[f"the {role}'s labels"] = _digest(
            label for manifest in checked for label in manifest.labels
        )
    files = {
        "model.w2v_path": run.model.w2v_path,
        "task.prune.mask": run.task.prune.mask,
        "task.prune.initial": run.task.prune.initial if is_path(run.task.prune.initial) else None,
        "checkpoint.finetune_from_model": run.checkpoint.finetune_from_model,
    }
    for option, path in files.items():
        # One that is no longer there is refused by those who need it.
        if path and os.path.isfile(path):
            digests[option] = sha256(path)
    return digests


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
