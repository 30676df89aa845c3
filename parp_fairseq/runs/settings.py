"""Which settings make two runs the same, and which may change when a run is resumed.

All settings are compared, but for those listed here. This module imports nothing but Python's own
library: the Hydra plugin reads it before fairseq imports this package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

# Why → patterns of keys (a section's name means all that it holds).
FREE = {
    "where files are; what they hold is compared instead": """
        task.data task.folder task.target_dictionary task.prune.mask model.data model.w2v_path
        model.w2v_args dataset.train_subset dataset.valid_subset checkpoint.save_dir
        checkpoint.restore_file checkpoint.finetune_from_model checkpoint.continue_once
        common.user_dir common.plasma_path job_logging_cfg
    """,
    "logging": """
        common.no_progress_bar common.log_* common.aim_* common.tensorboard_logdir
        common.wandb_project common.azureml_logging common.reset_logging common.profile
        common.suppress_crashes optimization.debug_param_names
    """,
    "devices and workers: the same sums, in another order": """
        common.cpu common.tpu common.empty_cache_freq common.all_gather_list_size
        common.use_plasma_view task.tpu dataset.num_workers dataset.data_buffer_size
        model.checkpoint_activations model.offload_activations model.min_params_to_wrap
        model.ddp_backend bmuf.distributed_world_size distributed_training
    """,
    "when to save and what to keep": """
        checkpoint.save_interval* checkpoint.keep_* checkpoint.no_* task.keep_update
        checkpoint.checkpoint_shard_count checkpoint.load_checkpoint_on_all_dp_ranks
        checkpoint.write_checkpoints_asynchronously
    """,
    "stopping earlier, to resume later": "optimization.stop_time_hours",
    "decoding and other programs of fairseq": """
        common_eval eval_lm generation interactive scoring tokenizer bpe dataset.gen_subset
        task.eval_* task.post_save_script
    """,
    "how to resume": "task.resume_with_changes task.changed checkpoint.reset_optimizer",
}

# Free too, unless what is validated decides how training continues.
VALIDATION = """
    dataset.validate_* dataset.batch_size_valid dataset.max_tokens_valid dataset.max_valid_steps
    dataset.fixed_validation_seed dataset.disable_validation dataset.combine_valid_subsets
    dataset.ignore_unused_valid_subsets
"""

# What no option lets a run change: its state could not be taken over, or would mean another.
FIXED = """
    *._name common.fp16 common.bf16 common.fp16_no_flatten_grads common.memory_efficient_*
    task.labels task.prune.method
"""

# As FIXED, for the methods whose sparsity is ramped: it would jump, or fall.
RAMPED = ("parp_p", "gmp", "nested")
FIXED_WHILE_RAMPED = """
    optimization.max_update task.prune.initial_sparsity task.prune.rise task.prune.stages
    task.prune.schedule
"""

WORLD = "distributed_training.distributed_world_size"
UPDATE_FREQ = "optimization.update_freq"
BATCH = "optimization.update_freq x distributed_world_size"
"""Batches in an update: what counts is the product, not how many GPUs share the work."""

CONTENTS = "task.contents."
"""What the keys of digests begin with."""

_SHOWN = 4
_FIRST = ("task.prune.", "optimization.", "optimizer.", "common.", "task.", "")


class Difference(NamedTuple):
    """A setting that is not what it was."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.key.startswith(CONTENTS):
            name = self.key[len(CONTENTS) :]
            return f"the content of {name} was sha256 {self.old[:12]} and is now {self.new[:12]}"
        return f"{self.key} was {self.old} and is now {self.new}"


def is_free(key: str) -> bool:
    """Whether a setting may change in any run."""
    return any(_matches(key, patterns) for patterns in FREE.values())


def is_of_validation(key: str) -> bool:
    """Whether a setting says when and how to validate."""
    return _matches(key, VALIDATION)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Compare the config that a run began with and that of the command that resumes it.

    Returns what differs, the settings of pruning and optimization first. A setting that fairseq
    copies from another is listed once.
    """
    before, after = _comparable(old), _comparable(new)
    # Sections are complete, but for these: a key that only one has is of another fairseq.
    keys = [
        key
        for key in {**before, **after}
        if (key in before and key in after) or key.startswith(("optimizer.", "lr_sched"))
    ]
    keys.sort(key=lambda key: (next(n for n, p in enumerate(_FIRST) if key.startswith(p)), key))
    once: dict[tuple[str, str, str], Difference] = {}
    for key in keys:
        was, now = before.get(key), after.get(key)
        if was != now:
            leaf = key.rsplit(".", 1)[-1]
            once.setdefault((leaf, _number(was), _number(now)), Difference(key, was, now))
    return list(once.values())


def refusal(differing: list[Difference], method: str, allowed: bool) -> str | None:
    """Say why a run must not be resumed with what differs; None where it may.

    `method` and `allowed` are `task.prune.method` and `task.resume_with_changes`.
    """
    fixed = FIXED + (FIXED_WHILE_RAMPED if method in RAMPED else "")
    never = [difference for difference in differing if _matches(difference.key, fixed)]
    todo = "put it back or start in another folder (hydra.run.dir=…)"
    if never and allowed:
        return f"{listed(never)}; no resumed run can change this, so {todo}"
    if differing and not allowed:
        way = "" if never else ", or resume nevertheless with task.resume_with_changes=true"
        return f"this folder holds a run with different settings: {listed(differing)}; {todo}{way}"
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
    method = settings.get("task.prune.method")
    dense, ramps = method == "dense", method in RAMPED
    out = {
        key: value
        for key, value in settings.items()
        if not is_free(key)
        and (validation_decides or not is_of_validation(key))
        and not (dense and key.startswith("task.prune.") and key != "task.prune.method")
        and not (not ramps and key.startswith("task.prune.") and _matches(key, FIXED_WHILE_RAMPED))
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


def _matches(key: str, patterns: str) -> bool:
    return any(
        fnmatchcase(key, pattern) or key.startswith(f"{pattern}.") for pattern in patterns.split()
    )
