"""What a plan costs before it is run: an estimate, and said so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiments.commands import updates
from experiments.made import mask_source, trained
from experiments.overlaps import comparisons, missing_masks
from experiments.plan import FineTuning, Plan, Result, World
from experiments.scores import Scored, read_scores
from parp_fairseq.config import shipped
from parp_fairseq.table import aligned

TERAFLOPS = 8.0
"""Assumed of a GPU in fp32: half of a V100's peak."""

# Parameters, those of the transformer, and checkpoints that stay on disk (best, last, one more).
_SIZES = {"tiny": (1.27e6, 1.2e6), "base": (94.4e6, 85.0e6), "large": (315.4e6, 302.3e6)}
_FILES = 3
# Weights and Adam's two averages, fp32.
_BYTES = 12
_FRAMES = 50  # a second, of the transformer
# Kept for the backward pass, bytes a second of audio, fp32: scripts/bench/activations.py.
_KEPT = {"base": 39e6, "large": 101e6}
# Weights, gradients and Adam's two averages, bytes a parameter in fp32.
_TRAINED = 16
_EXTRACTOR = 4.8e9  # operations a second of audio, forward; it is not trained
_RATE = 16_000


@dataclass(frozen=True)
class Cost:
    """Of some fine-tunings: their number, hours on a GPU or a core, and disk in GB."""

    trainings: int
    hours: float
    gigabytes: float


def audio_of_update(world: World) -> float:
    """Seconds of audio in an update, the batch of all GPUs together."""
    config = shipped.read(world.config)
    gpus = 1 if config["common"].get("cpu") else shipped.GPUS
    batch = config["dataset"]["max_tokens"] * config["optimization"]["update_freq"][0] * gpus
    return min(batch / _RATE, world.hours * 3600)


def gpu_hours(world: World) -> float:
    """Of one fine-tuning: three passes through the transformer, one through the extractor."""
    flops = audio_of_update(world) * (3 * 2 * _SIZES[world.size][1] * _FRAMES + _EXTRACTOR)
    return updates(world) * flops / (TERAFLOPS * 1e12) / 3600


def gpu_memory(world: World) -> float:
    """Of one GPU in GB: weights, gradients, Adam, and what is kept of a whole batch.

    Temporaries, m⊙θ while it is scored, and what PyTorch holds back come on top.
    """
    config = shipped.read(world.config)
    audio = config["dataset"]["max_tokens"] / _RATE
    return (_TRAINED * _SIZES[world.size][0] + _KEPT[world.size] * audio) / 1e9


def cost_of(fine_tunings: Iterable[FineTuning], update_hours: float | None = None) -> Cost:
    """Estimate some fine-tunings.

    Args:
        fine_tunings: what is to be trained.
        update_hours: what an update takes on a core where that was measured; None: estimate GPU
            hours.
    """
    trainings, hours, disk = 0, 0.0, 0.0
    for ft in fine_tunings:
        trainings += ft.trainings
        one = gpu_hours(ft.world)
        if update_hours is not None:
            one = update_hours * updates(ft.world)
        hours += ft.trainings * one
        # A series of IMP keeps its last fine-tuning alone.
        disk += (_FILES + _of_trail(ft)) * _BYTES * _SIZES[ft.world.size][0] / 1e9
    return Cost(trainings, hours, disk)


def _of_trail(ft: FineTuning) -> int:
    """Checkpoints that are kept until it is scored, so that θ can be."""
    if ft.trail is None:
        return 0
    first, every = ft.trail
    return len(range(first, updates(ft.world) + 1, every))


def cost_table(plan: Plan) -> str:
    """The cost of each result and of all, with what is shared counted once, as text."""
    scores = read_scores(plan)
    cpu = all(world.size == "tiny" for world in plan.worlds.values())
    measured = None
    if cpu:
        minutes = [
            one.content["minutes"] / one.content["trainings"] / updates(one.fine_tuning.world)
            for one in scores.values()
        ]
        measured = sum(minutes) / len(minutes) / 60 if minutes else 0.03 / 800
    rows = []
    results = list(plan.results.values())
    for name, members, left in [
        *((one.name, _needed(one), _left(plan, [one], scores)) for one in results),
        ("all", list(plan.trained.values()), _left(plan, results, scores)),
    ]:
        whole, rest = cost_of(members, measured), cost_of(left, measured)
        numbers = (whole.hours, rest.hours)
        rows.append(
            [
                name,
                f"{whole.trainings:,}",
                f"{rest.trainings:,}",
                *(f"{number:,.1f}" for number in numbers),
                f"{rest.gigabytes:,.1f}",
                *(
                    []
                    if cpu
                    else [f"{max((gpu_memory(ft.world) for ft in members), default=0):.0f}"]
                ),
            ]
        )
    unit = "core" if cpu else "GPU"
    header = ["result", "fine-tunings", "left", f"{unit} hours", "left", "GB left"]
    header += [] if cpu else ["GB a GPU"]
    if cpu:
        made = "hours: guessed"
        if scores:
            made = f"hours: from the mean time of an update in the {len(scores)} scores here"
    else:
        made = (
            f"hours: estimated, {TERAFLOPS:g} TFLOP/s a GPU, nothing measured; GB left: estimated, "
            f"{_FILES} checkpoints each, and those of trails until they are scored; GB a GPU: "
            "estimated, fp32, four GPUs, without temporaries"
        )
    note = "not counted: speaking, pre-training and decoding"
    return f"{aligned(header, rows, left=1)}\n{made}; {note}"


def _left(plan: Plan, results: Iterable[Result], scores: Mapping[str, Scored]) -> list[FineTuning]:
    """What is still to be trained: neither scored, nor in the work folder, and asked for."""
    wanted: list[FineTuning | None] = []
    for result in results:
        wanted += [ft for ft in result.fine_tunings if ft.name not in scores]
        for comparison in comparisons(result):
            if not plan.scores_file(comparison.name).is_file():
                wanted += missing_masks(plan, comparison)
    found: dict[str, FineTuning] = {}
    for ft in wanted:
        if ft is not None and not trained(plan, ft).is_file():
            for one in (mask_source(plan, ft), ft):
                if one is not None and not trained(plan, one).is_file():
                    found.setdefault(one.name, one)
    return list(found.values())


def _needed(result: Result) -> list[FineTuning]:
    """What it trains, what that and its masks need included."""
    found = {}
    for ft in (*result.fine_tunings, *(one.gives_mask for one in result.masks)):
        for one in (ft and ft.needs, ft):
            if one is not None:
                found.setdefault(one.name, one)
    return list(found.values())
