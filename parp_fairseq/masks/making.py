"""First masks made ahead of a run, from a checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.fairseq_settings import drop_unknown, keep_audio_keys, plain_settings
from parp_fairseq.checkpoints.file_types import MASK_FILE
from parp_fairseq.checkpoints.safe_load import check_readable, load_checkpoint
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike, check_output
from parp_fairseq.pruning.checks import check_granularity, check_seed, check_sparsity
from parp_fairseq.pruning.methods import INITIAL_MASKS

if TYPE_CHECKING:
    from torch import Tensor

    from parp_fairseq.pruning import Mask, Scope

# Parts of a pre-trained model that fine-tuning takes off before anything is pruned.
_PRETRAINING_HEADS = ("quantizer.", "project_q.", "target_glu.", "final_proj.", "label_embs_concat")


def make_mask(
    checkpoint: PathLike,
    sparsity: float,
    *,
    method: str = "magnitude",
    granularity: str = "global",
    scope: Scope | None = None,
    seed: int = 2337,
) -> tuple[Mask, dict[str, Any]]:
    """Make the first mask of a run that starts from `checkpoint`, and tell how it was made.

    Args:
        checkpoint: a fairseq checkpoint, pre-trained or fine-tuned.
        sparsity: share of entries to prune, in [0, 1].
        method: "magnitude" (MPI; of a fine-tuned checkpoint: OMP), "random" (RP), or
            "random_init": magnitudes of the same network with random weights, as the authors'
            script for RP does; this one imports fairseq and builds the network.
        granularity: "global" or "tensor"; not for "random".
        scope: what may be pruned (default: the paper's).
        seed: of "random" and "random_init"; any integer from -2^63 to 2^64 - 1.

    Returns:
        The mask, under canonical names, and the info to save with it.

    Raises:
        UserError: an unknown method, a sparsity or seed out of range, an unreadable checkpoint, a
            scope that does not fit it, weights that cannot be ranked.
    """
    check_options(checkpoint, sparsity, method, granularity, seed)

    from parp_fairseq.pruning import Mask, Scope, magnitude_mask, random_mask
    from parp_fairseq.pruning.scope import canonical_name

    scope = scope or Scope()
    path = Path(checkpoint)
    state = load_checkpoint(path)
    weights = scoped_weights(state, scope, path, "--")
    if method == "random":
        mask = random_mask(weights, sparsity, seed)
    else:
        ranked = weights if method == "magnitude" else random_weights(state, path, weights, seed)
        with options_named("--", f"{path}: "):
            mask = magnitude_mask(ranked, sparsity, granularity)
    info = {
        "method": method,
        "sparsity": mask.sparsity,
        "granularity": None if method == "random" else granularity,
        "seed": None if method == "magnitude" else seed,
        "scope": {
            "include": list(scope.include),
            "exclude": list(scope.exclude),
            "biases": scope.biases,
        },
        "source": {"file": path.name, "sha256": sha256(path)},
    }
    return Mask({canonical_name(name): kept for name, kept in mask.items()}), info


def write_mask(
    checkpoint: PathLike,
    out: PathLike,
    sparsity: float,
    *,
    include: Sequence[str] = ("wav2vec2",),
    exclude: Sequence[str] = (),
    biases: bool = False,
    method: str = "magnitude",
    granularity: str = "global",
    seed: int = 2337,
    force: bool = False,
) -> Mask:
    """Make a mask and write it to the file `out`; return it.

    Args:
        checkpoint: as for `make_mask`, like `sparsity`, `method`, `granularity` and `seed`.
        out: the mask file to write.
        include: what may be pruned, as in Scope; so are `exclude` and `biases`.
        force: replace a mask file that is there.

    Raises:
        UserError: what `make_mask` raises, or `out` cannot be written.
    """
    out = check_output(out, MASK_FILE, inputs=[checkpoint], force=force)
    check_options(checkpoint, sparsity, method, granularity, seed)

    from parp_fairseq.masks.files import save_mask
    from parp_fairseq.pruning import Scope

    scope = Scope(tuple(include), tuple(exclude), biases)
    mask, info = make_mask(
        checkpoint, sparsity, method=method, granularity=granularity, scope=scope, seed=seed
    )
    save_mask(mask, out, info)
    return mask


def check_options(
    checkpoint: PathLike, sparsity: float, method: str, granularity: str, seed: int
) -> None:
    """Check, without torch, what `make_mask` is asked for; raise what it raises."""
    if method not in INITIAL_MASKS:
        raise UserError(f"--method is {method!r}; use {', '.join(INITIAL_MASKS)}")
    with options_named("--"):
        check_granularity(granularity)
        check_sparsity(sparsity)
        check_seed(seed)
    check_readable(checkpoint)


def scoped_weights(
    state: Mapping[str, Any], scope: Scope, path: PathLike, options: str = ""
) -> dict[str, Tensor]:
    """The tensors of a checkpoint that `scope` chooses, under the checkpoint's own names.

    `options` is what the caller's options of the scope begin with, for the errors.

    Raises:
        UserError: the scope does not fit the model.
    """
    from torch import Tensor

    from parp_fairseq.pruning.scope import canonical_name

    tensors = {
        name: tensor
        for name, tensor in state["model"].items()
        if isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and not canonical_name(name).startswith(_PRETRAINING_HEADS)
    }
    with options_named(options, f"{path}: "):
        return {name: tensors[name] for name in scope.select(tensors)}


def sha256(path: PathLike) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remark on the weight norm that fairseq uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def random_weights(
    state: Mapping[str, Any], path: Path, weights: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """The weights that the same network has before any training. Imports fairseq.

    They are those of a run with the same seed, because fairseq's fine-tuning too builds the
    pre-trained network first. Other random numbers are left as they were.

    Args:
        state: what `load_checkpoint` returned.
        path: its file, for the errors.
        weights: name → tensor of the checkpoint: which weights to return.
        seed: as for `make_mask`.

    Raises:
        UserError: the checkpoint does not hold its architecture, or another one.
    """
    import torch
    from fairseq import tasks
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

    from parp_fairseq.pruning.scope import canonical_name

    settings = plain_settings(state)
    if any(name.startswith("w2v_encoder.") for name in state["model"]):
        settings = (settings.get("model") or {}).get("w2v_args") or {}
    sections = {name: settings.get(name) for name in ("task", "model")}
    if not all(isinstance(section, dict) for section in sections.values()):
        raise UserError(
            f"{path} does not hold the architecture of its network; give the pre-trained checkpoint"
        )
    keep_audio_keys(sections["task"])
    drop_unknown(sections["model"], MODEL_DATACLASS_REGISTRY, "")
    config = OmegaConf.create(sections)
    config.task.data = ""
    try:
        with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(), _quiet():
            task = tasks.setup_task(config.task, from_checkpoint=True)
            torch.manual_seed(seed)
            model = task.build_model(config.model, from_checkpoint=True)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path}: fairseq cannot build this network anew ({reason[0][:200]}); use "
            "--method random"
        ) from error
    fresh = {canonical_name(name): tensor.detach() for name, tensor in model.named_parameters()}
    for name, weight in weights.items():
        short = canonical_name(name)
        if short not in fresh or fresh[short].shape != weight.shape:
            raise UserError(
                f"{path}: {short} is not in the network that this checkpoint's settings describe, "
                "so it has no random weights; narrow --include or use --method random"
            )
    return {name: fresh[canonical_name(name)] for name in weights}
