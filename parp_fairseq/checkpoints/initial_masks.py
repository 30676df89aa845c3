"""The mask that a training begins with, and the prunable weights of checkpoints and models."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.fairseq_settings import drop_unknown, keep_audio_keys, plain_settings
from parp_fairseq.checkpoints.formats import CHECKPOINT, SPARSE_MODEL
from parp_fairseq.checkpoints.hf_folder import read_tensors
from parp_fairseq.checkpoints.safe_load import check_readable, load_checkpoint
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike, sha256
from parp_fairseq.pruning.methods import FINETUNED, INITIAL_MASKS, MAGNITUDE, RANDOM, RANDOM_INIT
from parp_fairseq.pruning.scope import Scope, canonical_name
from parp_fairseq.pruning.spec import PruningSpec

if TYPE_CHECKING:
    from torch import Tensor

    from parp_fairseq.pruning import Mask

# A file's sparsity and the option may differ by rounding, not by more.
_TOLERANCE = 0.005
_FAIRSEQ = "w2v_encoder.w2v_model."
# Parts of a pre-trained model that fine-tuning removes before anything is pruned.
_PRETRAINING_HEADS = ("quantizer.", "project_q.", "target_glu.", "final_proj.", "label_embs_concat")


class InitialMask:
    """Reads and checks its sources at once, before training; `make` gives the mask."""

    def __init__(
        self,
        spec: PruningSpec,
        sparsity: float,
        weights: Mapping[str, Tensor],
        *,
        random_weights: Callable[[], Mapping[str, Tensor]],
        read_folder: Callable[[Path], dict[str, Tensor]] = read_tensors,
        prefix: str = "",
    ) -> None:
        """Read what a mask of this `sparsity` over `weights` (name → prunable tensor) is made from.

        `random_weights` returns these for the same network without any training, `read_folder` the
        tensors of a folder of transformers; options begin with `prefix` in errors. UserError where
        a mask file or model is unreadable, of another model or of another sparsity.
        """
        self.names = frozenset(weights)
        self._spec, self._sparsity, self._read_folder = spec, sparsity, read_folder
        self._ranked: Mapping[str, Tensor] | None = None
        self._mask: Mask | None = None
        kind = spec.initial_mask_kind
        if kind == RANDOM_INIT:
            self._ranked = random_weights()
        elif kind not in INITIAL_MASKS:
            path, option = str(spec.mask), f"{prefix}mask"
            if spec.initial is not None:
                path, option = spec.initial, f"{prefix}initial"
            if not Path(path).exists():
                named = f"{', '.join(INITIAL_MASKS)} or a mask file"
                wanted = spec.behaviour.mask_kind or named
                raise UserError(f"{option} is {path!r}: no such file; give {wanted}")
            if kind == FINETUNED:
                self._ranked = self._finetuned(path, weights, option)
            else:
                self._mask = self._read(path, weights, prefix)

    def make(self, weights: Mapping[str, Tensor]) -> tuple[Mask, float]:
        """Return the mask for θ0, on its devices, and the magnitude below which it prunes.

        Raises PruningError: a weight is NaN or infinite.
        """
        from parp_fairseq.pruning import random_mask
        from parp_fairseq.pruning.magnitude import select_smallest

        if self._mask is not None:
            return self._mask.to(weights), 0.0
        if self._spec.initial_mask_kind == RANDOM:
            return random_mask(weights, self._sparsity, self._spec.seed), 0.0
        ranked = weights if self._ranked is None else self._ranked
        selection = select_smallest(ranked, self._sparsity, self._spec.granularity)
        return selection.mask(ranked).to(weights), selection.threshold

    def _finetuned(
        self, path: str, weights: Mapping[str, Tensor], option: str
    ) -> dict[str, Tensor]:
        """The weights of a fine-tuned model, for OMP (paper, section 2.3)."""
        folder = Path(path).is_dir()
        tensors = self._read_folder(Path(path)) if folder else load_checkpoint(path)["model"]
        todo = f"give a model of the same architecture as {option}"
        return weights_named(tensors, weights, path, todo)

    def _read(self, path: str, weights: Mapping[str, Tensor], prefix: str) -> Mask:
        mask = mask_in(path, weights, self._read_folder)
        with options_named(prefix):
            mask = mask.renamed({name: tuple(w.shape) for name, w in weights.items()}, path)
        if abs(mask.sparsity - self._sparsity) > _TOLERANCE:
            raise UserError(
                f"{path}: this mask has sparsity {mask.sparsity:.4f} and the run begins at "
                f"{self._sparsity:.4f}; set {prefix}sparsity (where it ramps: "
                f"{prefix}initial_sparsity) to it"
            )
        return mask


def mask_in(
    path: PathLike,
    names: Iterable[str],
    read_folder: Callable[[Path], dict[str, Tensor]] = read_tensors,
) -> Mask:
    """Read the mask that a file holds, whatever kind of file it is.

    Of a mask file that mask, of a checkpoint of a pruning run the one that it keeps, of an export
    (a fairseq checkpoint, a sparse file, a folder of transformers) what is not zero among `names`,
    the model's prunable parameters; where these are transformers' a mask of fairseq's wav2vec 2.0
    gets such names. UserError where the file is unreadable, or a dense checkpoint.
    """
    from parp_fairseq.checkpoints.formats import read_state
    from parp_fairseq.checkpoints.mask_files import load_mask, nonzero_mask, stored_mask
    from parp_fairseq.checkpoints.vocabulary import to_transformers

    path, scope = Path(path), {canonical_name(name) for name in names}
    if path.is_dir() or CHECKPOINT.matches(path) or SPARSE_MODEL.matches(path):
        state = _folder(path, scope, read_folder) if path.is_dir() else read_state(path)
        mask = stored_mask(state)
        if mask is None:
            model = state["model"].items()
            mask = nonzero_mask({name: t for name, t in model if canonical_name(name) in scope})
            if mask.sparsity < _TOLERANCE:
                raise UserError(
                    f"{path} keeps no mask and has no zeros; for the mask of its magnitudes use "
                    "method=omp, or make a mask file with parp mask make"
                )
    else:
        mask = load_mask(path)[0]
    theirs = {name: to_transformers(_FAIRSEQ + name) or name for name in mask}
    return mask.under(theirs) if scope & set(theirs.values()) and not scope & set(mask) else mask


def _folder(
    path: Path, scope: set[str], read_folder: Callable[[Path], dict[str, Tensor]]
) -> dict[str, Any]:
    """The tensors of a folder of transformers: under its own names, or fairseq's if these fit."""
    from parp_fairseq.checkpoints.hf_folder import read_hf_weights

    tensors = read_folder(path)
    return {"model": tensors if scope & set(tensors) else read_hf_weights(path)}


def make_mask(checkpoint: PathLike, spec: PruningSpec) -> tuple[Mask, dict[str, Any]]:
    """Make the initial mask of a run that starts from a fairseq checkpoint, without the run.

    "magnitude" is MPI's (of a fine-tuned checkpoint: OMP's), "random" RP's; for "random_init"
    fairseq is imported and builds the network. Returns the mask, under canonical names, and the
    info to save with it. UserError where an option is wrong, the checkpoint unreadable, the scope
    does not fit it, or weights cannot be ranked.
    """
    with options_named("--"):
        spec.check()
    check_readable(checkpoint)

    path, kind = Path(checkpoint), spec.initial_mask_kind
    state = load_checkpoint(path)
    weights = scoped_weights(state, spec.scope, path, "--")
    initial = InitialMask(
        spec,
        spec.sparsity,
        weights,
        random_weights=lambda: random_weights(state, path, weights, spec.seed),
        prefix="--",
    )
    with options_named("--", f"{path}: "):
        mask, _ = initial.make(weights)
    return mask.canonical(), {
        "method": kind,
        "sparsity": mask.sparsity,
        "granularity": None if kind == RANDOM else spec.granularity,
        "seed": None if kind == MAGNITUDE else spec.seed,
        "scope": {"include": spec.include, "exclude": spec.exclude, "biases": spec.biases},
        "source": {"file": path.name, "sha256": sha256(path)},
    }


def scoped_weights(
    state: Mapping[str, Any], scope: Scope, path: PathLike, options: str = ""
) -> dict[str, Tensor]:
    """The tensors of a checkpoint that `scope` chooses, under the checkpoint's own names.

    `options` is what the caller's options of the scope begin with, for the errors. Raises
    UserError: the scope does not fit the model.
    """
    from torch import Tensor

    tensors = {
        name: tensor
        for name, tensor in state["model"].items()
        if isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and not canonical_name(name).startswith(_PRETRAINING_HEADS)
    }
    with options_named(options, f"{path}: "):
        return {name: tensors[name] for name in scope.select(tensors)}


def weights_named(
    tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: PathLike, todo: str
) -> dict[str, Tensor]:
    """Return those of a model's tensors that have the names and shapes of `weights`, in fp32.

    Their names may have a fine-tuned model's prefixes. UserError where one is missing or of another
    shape; it names the model's file, `source`, and what `todo`.
    """
    short = {canonical_name(name): tensor for name, tensor in tensors.items()}
    chosen = {}
    for name, weight in weights.items():
        wanted = canonical_name(name)
        tensor = short.get(wanted)
        if tensor is None or tensor.shape != weight.shape:
            has = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise UserError(
                f"{source}: {wanted} {has} there and has shape {tuple(weight.shape)} here; {todo}"
            )
        chosen[name] = tensor.detach().float()
    return chosen


def random_weights(
    state: Mapping[str, Any], path: PathLike, weights: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """The weights that the same network has before any training. Imports fairseq.

    They are those of a run with the same seed (from -2^63 to 2^64 - 1), because fairseq's
    fine-tuning too builds the pre-trained network first. `state`, of the file `path`, is what
    `load_checkpoint` returned; `weights` are those to return. Other random numbers stay as they
    were. UserError where the checkpoint does not hold its architecture, or another one.
    """
    import torch
    from fairseq import tasks
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

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
        with redirect_stdout(io.StringIO()), torch.random.fork_rng(), warnings.catch_warnings():
            # torch's remark on the weight norm that fairseq uses.
            warnings.simplefilter("ignore", FutureWarning)
            task = tasks.setup_task(config.task, from_checkpoint=True)
            torch.manual_seed(seed)
            model = task.build_model(config.model, from_checkpoint=True)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path}: fairseq cannot build this network ({reason[0][:200]}); use random masks"
        ) from error
    network = f"the network that the settings of {path} describe"
    todo = "use random masks, or leave this tensor out (exclude)"
    return weights_named(dict(model.named_parameters()), weights, network, todo)
