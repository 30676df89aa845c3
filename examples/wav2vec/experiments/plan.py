"""A plan: which fine-tunings each result takes. `reading` makes it of small.yaml or paper.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
SCALES = ("small", "paper")
IMP = "imp"

# What is made of each stands in `kinds`.
KIND_NAMES = (
    *("rates", "effects", "views", "languages", "effort", "intervals"),
    *("transfer", "overlap", "initial_mask"),
)
# What a claim of kind transfer compares: whose mask, and whether it is held or PARP's first one.
TRANSFER_GROUPS = tuple(
    f"{whose} {way}" for whose in ("own", "reseeded", "moved", "random") for way in ("held", "parp")
)


@dataclass(frozen=True)
class World:
    """A pre-trained model and the data it is fine-tuned on.

    Attributes:
        name: in the names of fine-tunings.
        about: a line for readers.
        config: a yaml file's name for fairseq-hydra-train.
        data: folder of the manifests; relative paths lie in the work folder.
        speech: settings of `parp_fairseq.demo.speech` where the data is synthetic, or, with
            `language` or `languages`, of `parp_fairseq.demo.commonvoice`; else None.
        corpus: settings of `experiments.corpora` where the data is a clone's; else None.
        model: `model.w2v_path`.
        valid: the set that is validated on.
        test: sets that are decoded at the end, beside `valid`.
        overrides: for every fine-tuning.
        group: its name in the yaml, without the language.
        language: which of the yaml's `each` it is, if any.
        recipe: how the workflow makes `model` where it is missing (`experiments.models`); None
            where it does not.
        size: of the model, for estimates: tiny, base or large.
        hours: of speech to train on, for estimates.
        gpus: of one training; 0: its config trains on a CPU.
    """

    name: str
    about: str
    config: str
    data: str
    model: str
    valid: str
    test: tuple[str, ...]
    speech: Mapping[str, Any] | None = field(default=None, hash=False)
    overrides: tuple[str, ...] = ()
    group: str = ""
    language: str | None = None
    recipe: Mapping[str, Any] | None = field(default=None, hash=False)
    size: str = "base"
    hours: float = 1.0
    corpus: Mapping[str, Any] | None = field(default=None, hash=False)
    gpus: int = 0

    @property
    def made(self) -> bool:
        """Whether the workflow makes the manifests, in the work folder."""
        return self.speech is not None or self.corpus is not None

    @property
    def splits(self) -> tuple[str, ...]:
        """The sets to decode."""
        return (self.valid, *self.test)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of a synthetic Common Voice; none: the demo's English, or data of yours."""
        speech = self.speech or {}
        return (speech["language"],) if "language" in speech else tuple(speech.get("languages", ()))


@dataclass(frozen=True)
class FineTuning:
    """One fine-tuning, or a series of `parp imp`.

    Attributes:
        world: where.
        method: `task.prune.method`, or "imp".
        sparsity: in [0, 1].
        seed: `common.seed`.
        options: other keys under `task.prune`, with their values.
        trail: (first, every): keep checkpoints from update `first` on, every so many updates, to
            score θ as well; None: do not.
        source: the world whose OMP mask it begins with, held (method mask) or as PARP's first one.
        source_seed: the seed of that mask's fine-tuning; None: its own.
    """

    world: World
    method: str
    sparsity: float
    seed: int
    options: tuple[tuple[str, Any], ...] = ()
    trail: tuple[int, int] | None = None
    source: World | None = None
    source_seed: int | None = None

    @property
    def name(self) -> str:
        """What its folder and its scores are called."""
        parts = [self.world.name, self.method]
        if self.method != "dense":
            parts.append(f"{self.sparsity:g}")
        parts += [f"{key.replace('_', '-')}{_plain(value)}" for key, value in self.options]
        if self.source is not None:
            seed = "" if self.source_seed is None else f"-seed{self.source_seed}"
            parts.append(f"from-{self.source.name}{seed}")
        parts.append(f"seed{self.seed}")
        if self.trail:
            parts.append("trail")
        return "_".join(parts)

    @property
    def setting(self) -> str:
        """Method, sparsity and options, what claims call it: "parp_p 0.9 initial_sparsity=0.4"."""
        parts = [self.method] if self.method == "dense" else [self.method, f"{self.sparsity:g}"]
        parts += [f"{key}={value}" for key, value in self.options]
        return " ".join(parts if self.source is None else [*parts, f"from {self.source_title}"])

    @property
    def needs(self) -> FineTuning | None:
        """The dense fine-tuning that gives OMP's mask."""
        if self.given_mask is not None:
            return self.given_mask.needs
        if self.method != "omp":
            return None
        return FineTuning(self.world, "dense", 0.0, self.seed)

    @property
    def given_mask(self) -> FineTuning | None:
        """Whose mask it begins with, where that is another's or PARP's own by OMP."""
        if self.source is None:
            return None
        seed = self.seed if self.source_seed is None else self.source_seed
        return FineTuning(self.source, "omp", self.sparsity, seed)

    @property
    def source_title(self) -> str:
        """Whose mask it begins with, in words that runs of several seeds share; "" for its own."""
        if self.source is None:
            return ""
        return self.source.name if self.source_seed is None else "another seed"

    @property
    def gives_mask(self) -> FineTuning | None:
        """What must be trained for the mask that it ends with; None for MPI and RP."""
        if self.method in ("mpi", "rp"):
            return None
        return self.needs if self.method == "omp" else self

    @property
    def trainings(self) -> int:
        """Fine-tunings that it takes beside what it needs."""
        return round(self.sparsity * 10) + 1 if self.method == IMP else 1

    def option(self, key: str, default: Any = None) -> Any:
        """A key under `task.prune` by its name."""
        return dict(self.options).get(key, default)

    def settings(self) -> dict[str, Any]:
        """What decides its outcome, as plain values; a score under other settings is stale."""
        return {
            **_settings(self.world),
            "method": self.method,
            "sparsity": self.sparsity,
            "seed": self.seed,
            "options": dict(self.options),
            "trail": list(self.trail) if self.trail else None,
            "splits": list(self.world.splits),
            "source": self._source_settings(),
        }

    def _source_settings(self) -> dict[str, Any] | None:
        if self.source is None:
            return None
        # Left out where it is the run's own, so that scores from before it could differ stay valid.
        seed = {} if self.source_seed is None else {"seed": self.source_seed}
        return {**_settings(self.source), **seed}


def _settings(world: World) -> dict[str, Any]:
    return {
        "world": world.name,
        "config": world.config,
        "model": Path(world.model).name,
        "recipe": dict(world.recipe) if world.recipe else None,
        "speech": dict(world.speech) if world.speech else None,
        "corpus": dict(world.corpus) if world.corpus else None,
        "overrides": list(world.overrides),
    }


NOT_ASKED = "-"
PAPER_SAYS = (NOT_ASKED, "holds", "no difference")


@dataclass(frozen=True)
class Claim:
    """One setting makes fewer errors than another.

    Attributes:
        says: the claim in words.
        fewer: the setting that is said to make fewer errors, such as "parp 0.9".
        than: the other.
        why: the likely reason of what was found, where there is one.
        paper: what the paper says of it, one of PAPER_SAYS.
        worlds: where it is asked, by world or group; none: in all that have both settings.
    """

    says: str
    fewer: str
    than: str
    why: str = ""
    paper: str = NOT_ASKED
    worlds: tuple[str, ...] = ()

    def asked_of(self, *names: str) -> bool:
        """Whether it is asked in a world of this name or group."""
        return not self.worlds or bool(set(names) & set(self.worlds))


@dataclass(frozen=True)
class IouClaim:
    """Every pair of masks of two settings has an IOU above a bound.

    Attributes:
        says: the claim in words.
        of: a setting, such as "omp 0.5".
        and_of: the other; the same one means pairs of it.
        above: the bound, in [0, 1].
        worlds_differ: ask pairs of different worlds alone.
        why: the likely reason of what was found, where there is one.
        paper: what the paper says of it, one of PAPER_SAYS.
    """

    says: str
    of: str
    and_of: str
    above: float
    worlds_differ: bool = False
    why: str = ""
    paper: str = NOT_ASKED


@dataclass(frozen=True)
class Result:
    """A table or figure.

    Attributes:
        name: its folder beside the Snakefile, and its target.
        title: for readers.
        kind: how it is shown, one of those in `kinds`.
        fine_tunings: whose scores it is made from.
        masks: fine-tunings whose masks it compares.
        paper: setting ("parp 0.9") → the paper's numbers, as text.
        claims: what is asked of the numbers.
    """

    name: str
    title: str
    kind: str
    fine_tunings: tuple[FineTuning, ...]
    paper: Mapping[str, str] = field(default_factory=dict, hash=False)
    claims: tuple[Claim | IouClaim, ...] = ()
    masks: tuple[FineTuning, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All results of a scale.

    Attributes:
        scale: the yaml's name.
        home: the folder of the yaml, the results and RESULTS.md.
        work: where data and checkpoints lie.
        devices: GPUs of this machine, as CUDA_VISIBLE_DEVICES names them, that trainings side by
            side share out among themselves; none: each takes the first ones that it sees.
    """

    scale: str
    home: Path
    work: Path
    worlds: Mapping[str, World]
    results: Mapping[str, Result]
    devices: tuple[str, ...] = ()

    @cached_property
    def scored(self) -> Mapping[str, FineTuning]:
        """The fine-tunings whose scores the results take, by name, in the order of the results."""
        return {ft.name: ft for result in self.results.values() for ft in result.fine_tunings}

    @cached_property
    def trained(self) -> Mapping[str, FineTuning]:
        """All that may have to be trained: those, and what they and masks need."""
        found: dict[str, FineTuning] = {}
        for ft in self.scored.values():
            for one in (ft.needs, ft):
                if one is not None:
                    found.setdefault(one.name, one)
        for ft in self.masks.values():
            if ft.gives_mask is not None:
                found.setdefault(ft.gives_mask.name, ft.gives_mask)
        return found

    @cached_property
    def masks(self) -> Mapping[str, FineTuning]:
        """The fine-tunings whose masks the results compare, by name."""
        return {ft.name: ft for result in self.results.values() for ft in result.masks}

    @property
    def folder(self) -> Path:
        """Where scores are kept."""
        return self.home / "results" / self.scale

    def scores_file(self, name: str) -> Path:
        """The scores of a fine-tuning."""
        return self.folder / f"{name}.json"


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
