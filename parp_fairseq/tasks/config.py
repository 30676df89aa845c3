"""Options under `task.prune`: fairseq's face of `PruningSpec`."""

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig

from parp_fairseq.errors import options_named
from parp_fairseq.pruning import Pruner, PruningSpec

PREFIX = "task.prune."

PruneConfig: Any = make_dataclass(
    "PruneConfig",
    [
        (
            option.name,
            option.type,
            field(
                default=option.default,
                default_factory=option.default_factory,
                metadata=option.metadata,
            ),
        )
        for option in fields(PruningSpec)
    ],
    bases=(FairseqDataclass,),
    namespace={
        "__module__": __name__,
        "__doc__": "How a run prunes: the options of PruningSpec (the yaml files explain each).",
    },
)


def spec_of(cfg: Any) -> PruningSpec:
    """Return the options of a PruneConfig, or of a config node like it, checked.

    Raises UserError: names the first option that is wrong.
    """
    with options_named(PREFIX):
        spec = PruningSpec(**{option.name: cfg[option.name] for option in fields(PruningSpec)})
        spec.check()
    return spec


def check(cfg: Any) -> None:
    """Check the options, and write down the sparsity that a ramp begins at by default.

    Raises UserError: names the first option that is wrong.
    """
    spec = spec_of(cfg)
    if spec.behaviour.ramps:
        cfg["initial_sparsity"] = spec.begins_at


def make_pruner(cfg: Any, total_updates: int) -> Optional[Pruner]:
    """Return the Pruner that a PruneConfig, or a config node like it, asks for; None: dense.

    `total_updates` is N, the last update (0: not known). UserError names the first wrong option.
    """
    with options_named(PREFIX):
        return spec_of(cfg).build(total_updates, prefix=PREFIX, length="optimization.max_update")


@dataclass
class ParpTaskConfig(AudioFinetuningConfig):
    """Options of audio_finetuning, and how to prune."""

    prune: PruneConfig = field(default_factory=PruneConfig)
    keep_update: int = field(
        default=0,
        metadata={"help": "keep the weights after this update as checkpoint_update_N.pt (0: none)"},
    )
    folder: Optional[str] = field(
        default=None,
        metadata={"help": "relative paths are resolved against it (default: current directory)"},
    )
    resume_with_changes: bool = field(
        default=False, metadata={"help": "resume a run although its settings or data have changed"}
    )
    contents: Any = field(
        default=None, metadata={"help": "written by the program: digests of what the run reads"}
    )
    changed: Any = field(
        default=None, metadata={"help": "written by the program: what resume_with_changes allowed"}
    )
