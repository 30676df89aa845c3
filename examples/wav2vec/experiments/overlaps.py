"""IOU of the masks that a result compares, as small JSON beside the scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.commands import mask_file
from experiments.masks import mask_settings, read_or_make
from experiments.plan import FineTuning, Plan, Result
from experiments.work import commit
from parp_fairseq.checkpoints.strict_json import strict_json
from parp_fairseq.errors import UserError
from parp_fairseq.files import write_json


@dataclass(frozen=True)
class Comparison:
    """Masks of one model and sparsity.

    Attributes:
        result: the name of the result that it is part of.
        masks: the fine-tunings that they are of; MPI once, RP once a seed.
    """

    result: str
    masks: tuple[FineTuning, ...]

    @property
    def sparsity(self) -> float:
        """Of every mask, in [0, 1]."""
        return self.masks[0].sparsity

    @property
    def model(self) -> str:
        """The pre-trained model's file, without its ending."""
        return Path(self.masks[0].world.model).stem

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"masks_{self.result}_{self.model}_{self.sparsity:g}"


@dataclass(frozen=True)
class Compared:
    """A comparison and its matrix of IOU; row and column in the order of its masks."""

    comparison: Comparison
    matrix: tuple[tuple[float, ...], ...] = field(repr=False)

    def between(self, one: FineTuning, other: FineTuning) -> float:
        """IOU of two of its masks."""
        names = [ft.name for ft in self.comparison.masks]
        return self.matrix[names.index(one.name)][names.index(other.name)]


def comparisons(result: Result) -> list[Comparison]:
    """What a result compares: model by model, sparsity by sparsity."""
    groups: dict[tuple[str, float], dict[str, FineTuning]] = {}
    for ft in result.masks:
        members = groups.setdefault((ft.world.model, ft.sparsity), {})
        # The same mask in every world that shares the model.
        members.setdefault(json.dumps(mask_settings(ft), sort_keys=True), ft)
    methods = list(dict.fromkeys(ft.method for ft in result.masks))
    worlds = list(dict.fromkeys(ft.world.name for ft in result.masks))

    def order(ft: FineTuning) -> tuple[int, int, int]:
        return methods.index(ft.method), worlds.index(ft.world.name), ft.seed

    return [
        Comparison(result.name, tuple(sorted(members.values(), key=order)))
        for _, members in sorted(groups.items(), key=lambda item: item[0][1])
    ]


def all_comparisons(plan: Plan) -> dict[str, Comparison]:
    """Those of all results, by name."""
    return {one.name: one for result in plan.results.values() for one in comparisons(result)}


def missing_masks(plan: Plan, comparison: Comparison) -> list[FineTuning]:
    """Fine-tunings that must be trained before it can be made."""
    needed = [ft.gives_mask for ft in comparison.masks if not (plan.work / mask_file(ft)).is_file()]
    return list({ft.name: ft for ft in needed if ft is not None}.values())


def make(plan: Plan, name: str) -> None:
    """Compare masks and write what was found.

    Raises:
        UserError: a checkpoint is missing, or masks of different models were asked for.
    """
    from parp_fairseq.report.mask_overlap import compare

    comparison = all_comparisons(plan)[name]
    found = compare([read_or_make(plan, ft) for ft in comparison.masks])
    write_json(
        plan.scores_file(name),
        {
            "name": name,
            "masks": _described(comparison),
            "commit": commit(),
            "entries": found.masks[0].mask.numel,
            "sparsity": [round(named.mask.sparsity, 6) for named in found.masks],
            "iou": [[round(value, 6) for value in line] for line in found.matrix],
        },
    )


def read(plan: Plan, comparison: Comparison) -> Compared | None:
    """Read what was found; None where nothing was.

    Raises:
        UserError: the file is damaged, or compares other masks than the plan does now.
    """
    file = plan.scores_file(comparison.name)
    if not file.is_file():
        return None
    try:
        content = strict_json(file.read_text(encoding="utf-8"))
        before: list[Mapping[str, Any]] = content["masks"]
        for one in before:
            if not isinstance(one["name"], str) or not isinstance(one["settings"], dict):
                raise ValueError("its masks have no name or settings")
        matrix = tuple(tuple(map(float, line)) for line in content["iou"])
        if {len(matrix), *map(len, matrix)} != {len(before)}:
            raise ValueError("its matrix does not fit its masks")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}); remove it to compare again") from error
    now = _described(comparison)
    if before != now:
        raise UserError(
            f"{file}: {_change(before, now)} in {plan.scale}.yaml; put it back, or remove the file "
            "to compare again"
        )
    return Compared(comparison, matrix)


def _described(comparison: Comparison) -> list[dict[str, Any]]:
    return [{"name": ft.name, "settings": mask_settings(ft)} for ft in comparison.masks]


def _change(before: list[Mapping[str, Any]], now: list[dict[str, Any]]) -> str:
    old = {one["name"]: one["settings"] for one in before}
    new = {one["name"]: one["settings"] for one in now}
    for name in old:
        if name not in new:
            return f"{name} was compared when it was made and is not"
    for name, settings in new.items():
        if name not in old:
            return f"{name} was not compared when it was made and is"
        for key, value in settings.items():
            if old[name].get(key) != value:
                return f"{key} of {name} was {old[name].get(key)} when it was made and is {value}"
    return "its masks had another order when it was made than they have"
