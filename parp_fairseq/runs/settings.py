"""Which settings make two runs the same experiment, and which may change while a run goes on.

All settings are compared when a run is resumed, but for those listed here. This module imports
nothing but Python's own library: the Hydra plugin reads it before fairseq imports this package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

FREE: dict[str, tuple[str, ...]] = {
    "where files lie; what they hold is compared instead": (
        "task.data",
        "task.folder",
        "task.target_dictionary",
        "task.prune.mask",
        "model.data",
        "model.w2v_path",
        "model.w2v_args",
        "dataset.train_subset",
        "dataset.valid_subset",
        "checkpoint.save_dir",
        "checkpoint.restore_file",
        "checkpoint.finetune_from_model",
        "checkpoint.continue_once",
        "common.user_dir",
        "common.plasma_path",
        "job_logging_cfg",
    ),
    "logging": (
        "common.no_progress_bar",
        "common.log_*",
        "common.aim_*",
        "common.tensorboard_logdir",
        "common.wandb_project",
        "common.azureml_logging",
        "common.reset_logging",
        "common.profile",
        "common.suppress_crashes",
        "optimization.debug_param_names",
    ),
    "devices and workers: the same sums, in another order": (
        "common.cpu",
        "common.tpu",
        "common.empty_cache_freq",
        "common.all_gather_list_size",
        "common.use_plasma_view",
        "task.tpu",
        "dataset.num_workers",
        "dataset.data_buffer_size",
        "model.checkpoint_activations",
        "model.offload_activations",
        "model.min_params_to_wrap",
        "model.ddp_backend",
        "bmuf.distributed_world_size",
        "distributed_training.bucket_cap_mb",
        "distributed_training.broadcast_buffers",
        "distributed_training.cpu_offload",
        "distributed_training.ddp_*",
        "distributed_training.device_id",
        "distributed_training.distributed_*",
        "distributed_training.fast_stat_sync",
        "distributed_training.find_unused_parameters",
        "distributed_training.fix_batches_to_gpus",
        "distributed_training.gradient_as_bucket_view",
        "distributed_training.heartbeat_timeout",
        "distributed_training.no_reshard_after_forward",
        "distributed_training.not_fsdp_flatten_parameters",
        "distributed_training.nprocs_per_node",
        "distributed_training.pipeline_*",
        "distributed_training.tpu",
        "distributed_training.use_sharded_state",
    ),
    "when to save and what to keep": (
        "checkpoint.save_interval*",
        "task.keep_update",
        "checkpoint.keep_*",
        "checkpoint.no_*",
        "checkpoint.checkpoint_shard_count",
        "checkpoint.load_checkpoint_on_all_dp_ranks",
        "checkpoint.write_checkpoints_asynchronously",
    ),
    "stopping earlier, to go on later": ("optimization.stop_time_hours",),
    "decoding and other programs of fairseq": (
        "common_eval",
        "eval_lm",
        "generation",
        "interactive",
        "scoring",
        "tokenizer",
        "bpe",
        "dataset.gen_subset",
        "task.eval_*",
        "task.post_save_script",
    ),
    "how to resume": ("task.resume_with_changes", "checkpoint.reset_optimizer"),
}
"""Why → patterns of keys (a section's name means all that it holds)."""

VALIDATION = (
    "dataset.validate_*",
    "dataset.batch_size_valid",
    "dataset.max_tokens_valid",
    "dataset.max_valid_steps",
    "dataset.fixed_validation_seed",
    "dataset.disable_validation",
    "dataset.combine_valid_subsets",
    "dataset.ignore_unused_valid_subsets",
)
"""Free too, unless what is validated decides how training goes on."""

FIXED = (
    "*._name",
    "common.fp16",
    "common.bf16",
    "common.fp16_no_flatten_grads",
    "common.memory_efficient_*",
    "task.labels",
    "task.prune.method",
)
"""What no option lets a run change: its state could not be taken over, or would mean another."""

CLIMBING = ("parp_p", "gmp")
FIXED_WHILE_CLIMBING = (
    "optimization.max_update",
    "task.prune.initial_sparsity",
    "task.prune.rise",
    "task.prune.stages",
    "task.prune.schedule",
)
"""As FIXED, for the methods whose sparsity climbs: it would jump, or fall."""

WORLD = "distributed_training.distributed_world_size"
UPDATE_FREQ = "optimization.update_freq"
BATCH = f"{UPDATE_FREQ} x {WORLD.split('.')[-1]}"
"""Batches in an update: what counts is the product, not how many GPUs share the work."""

_OPTION = "task.resume_with_changes=true"
_SHOWN = 4


class Difference(NamedTuple):
    """A setting that is not what it was."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key} was {self.old} and is now {self.new}"


def is_free(key: str) -> bool:
    """Whether a setting may change in any run."""
    return any(_matches(key, patterns) for patterns in FREE.values())


def is_of_validation(key: str) -> bool:
    """Whether a setting says when and how to validate."""
    return _matches(key, VALIDATION)


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], contents: Mapping[str, Mapping[str, str]]
) -> list[Difference]:
    """Compare the settings of a run with those that it shall go on with.

    Args:
        old: the resolved fairseq config as nested mappings, when the run began.
        new: the same of the command that would go on.
        contents: {"old": …, "new": …}, each what is read → the digest of what it holds. What
            only one of them has is not compared.

    Returns:
        What differs, the settings of pruning and optimization first. A setting that fairseq
        copies from another comes once.
    """
    before, after = _comparable(old), _comparable(new)
    keys = [key for key in before if key in after]
    # Every other section is complete: a key that only one has is of another version of fairseq.
    keys += [
        key for key in {*before, *after} - set(keys) if key.startswith(("optimizer.", "lr_sched"))
    ]
    differing = [
        Difference(key, before.get(key), after.get(key))
        for key in sorted(keys, key=_rank)
        if before.get(key) != after.get(key)
    ]
    once: dict[tuple[str, str, str], Difference] = {}
    for difference in differing:
        leaf = difference.key.rsplit(".", 1)[-1]
        once.setdefault((leaf, _number(difference.old), _number(difference.new)), difference)
    olds, news = contents["old"], contents["new"]
    digests = [
        Difference(f"the content of {name}", f"sha256 {olds[name][:12]}", f"{news[name][:12]}")
        for name in olds
        if name in news and olds[name] != news[name]
    ]
    return [*once.values(), *digests]


def refusal(differing: list[Difference], method: str, allowed: bool) -> str | None:
    """Say why a run must not go on with what differs; None where it may.

    Args:
        differing: what `differences` found.
        method: `task.prune.method`.
        allowed: `task.resume_with_changes`.
    """
    fixed = FIXED + (FIXED_WHILE_CLIMBING if method in CLIMBING else ())
    never = [difference for difference in differing if _matches(difference.key, fixed)]
    if never and allowed:
        return (
            f"{listed(never)}; this cannot change while a run goes on, so put it back or start in "
            "another folder (hydra.run.dir=…)"
        )
    if differing and not allowed:
        way = "" if never else f", or go on all the same with {_OPTION}"
        return (
            f"this folder's run is another experiment: {listed(differing)}; put it back or start "
            f"in another folder (hydra.run.dir=…){way}"
        )
    return None


def listed(differing: list[Difference]) -> str:
    """The first few differences in a line."""
    shown = ", ".join(str(difference) for difference in differing[:_SHOWN])
    rest = len(differing) - _SHOWN
    return shown + (f", and {rest} more" if rest > 0 else "")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted key."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = list(value) if isinstance(value, (list, tuple)) else value
    return out


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    settings = flat(config)
    world = settings.get(WORLD) or 1
    freq = settings.pop(UPDATE_FREQ, None)
    validation_decides = (
        settings.get("lr_scheduler._name") == "reduce_lr_on_plateau"
        or (settings.get("checkpoint.patience") or -1) > 0
    )
    dense = settings.get("task.prune.method") == "dense"
    ramps = settings.get("task.prune.method") in CLIMBING
    out = {
        key: value
        for key, value in settings.items()
        if not is_free(key)
        and (validation_decides or not is_of_validation(key))
        and not (not ramps and key in FIXED_WHILE_CLIMBING and key.startswith("task.prune."))
        and not (dense and key.startswith("task.prune.") and key != "task.prune.method")
    }
    if isinstance(freq, list):
        out[BATCH] = [number * world for number in freq]
    if is_path(out.get("task.prune.initial")):
        out["task.prune.initial"] = "a mask file"
    return out


def is_path(value: Any) -> bool:
    """Whether `task.prune.initial` names a file rather than a kind of mask."""
    return isinstance(value, str) and re.search(r"[/\\.]", value) is not None


def _number(value: Any) -> str:
    return str(float(value)) if isinstance(value, (int, float)) else str(value)


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) or key.startswith(f"{pattern}.") for pattern in patterns)


def _rank(key: str) -> tuple[int, str]:
    first = ("task.prune.", "optimization.", "optimizer.", "common.", "task.")
    place = next((n for n, start in enumerate(first) if key.startswith(start)), len(first))
    return place, key
