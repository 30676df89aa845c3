"""Scores read back, and grouped over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.plan import FineTuning, Plan, Result
from parp_fairseq.checkpoints.strict_json import strict_json
from parp_fairseq.errors import UserError


@dataclass(frozen=True)
class Scored:
    """A fine-tuning and what its JSON file holds."""

    fine_tuning: FineTuning
    content: Mapping[str, Any] = field(repr=False)

    def row(self, split: str, checkpoint: str = "last") -> Mapping[str, Any]:
        """The score of a checkpoint (last, best or kept) on a split."""
        for row in self.content["scores"]:
            if (row["split"], row["checkpoint"]) == (split, checkpoint):
                return row  # type: ignore[no-any-return]
        raise UserError(f"{self.content['name']}: no score of {checkpoint} on {split}; score again")


@dataclass(frozen=True)
class Setting:
    """Fine-tunings that differ in nothing but their seed.

    Attributes:
        first: one of them.
        by_seed: seed → its scores; empty where none was run.
        wanted: how many the plan has.
    """

    first: FineTuning
    by_seed: Mapping[int, Scored]
    wanted: int

    @property
    def key(self) -> str:
        """What the seeds share, see `FineTuning.setting`."""
        return self.first.setting

    def rates(self, split: str, checkpoint: str = "last") -> dict[int, float]:
        """Seed → errors in percent."""
        return {
            seed: float(scored.row(split, checkpoint)["rate"])
            for seed, scored in sorted(self.by_seed.items())
        }


def read_scores(plan: Plan) -> dict[str, Scored]:
    """Read every score of the plan that is there, by the fine-tuning's name.

    Raises:
        UserError: a file is damaged, was made with other settings than the plan has now, or from
            another model of the same name than others were.
    """
    found = {}
    for name, ft in plan.scored.items():
        file = plan.scores_file(name)
        if not file.is_file():
            continue
        try:
            content = _checked(strict_json(file.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UserError(f"{file} is damaged ({error}); remove it to score again") from error
        settings = content["settings"]
        wanted = json.loads(json.dumps(ft.settings()))
        for key, value in wanted.items():
            if settings.get(key) != value:
                raise UserError(
                    f"{file}: {key} was {settings.get(key)} when it was scored and is {value} in "
                    f"{plan.scale}.yaml; put it back, or remove the file to make it again (what "
                    "the work folder still has of it is asked about then)"
                )
        found[name] = Scored(ft, content)
    _check_models(plan, found)
    return found


_NUMBER, _WHOLE, _TEXT = (int, float), int, str
_HOLDS = {
    **dict.fromkeys(("name", "machine", "command", "trained_by"), _TEXT),
    # None outside of a repository.
    "commit": (str, type(None)),
    **{"settings": dict, "minutes": _NUMBER, "trainings": _WHOLE, "scores": list, "trail": list},
}
_SCORE_HOLDS = {
    **dict.fromkeys(("split", "checkpoint", "metric"), _TEXT),
    **dict.fromkeys(("rate", "rate_low", "rate_high"), _NUMBER),
    "update": _WHOLE,
}
_POINT_HOLDS = {"update": _WHOLE, **dict.fromkeys(("theta", "zeros", "subnetwork"), _NUMBER)}


def _checked(content: Any) -> dict[str, Any]:
    """What a file holds, once all that is read of it is there."""
    _check_holds(content, _HOLDS)
    for row in content["scores"]:
        _check_holds(row, _SCORE_HOLDS)
    for point in content["trail"]:
        _check_holds(point, _POINT_HOLDS)
    if content["trainings"] < 1 or not content["scores"]:
        raise ValueError("it holds no scores")
    return dict(content)


def _check_holds(entry: Any, wanted: Mapping[str, Any]) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{str(entry)[:40]} is no object")
    for key, kind in wanted.items():
        if key not in entry:
            raise ValueError(f"it lacks {key}")
        if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
            raise ValueError(f"{key} is {str(entry[key])[:40]}")


def _check_models(plan: Plan, found: Mapping[str, Scored]) -> None:
    """A model that was made again is another; older scores do not say which theirs was."""
    first: dict[str, tuple[str, str]] = {}
    for name, scored in found.items():
        digest = scored.content.get("model_sha256")
        if digest is None:
            continue
        model = scored.content["settings"]["model"]
        other, known = first.setdefault(model, (name, digest))
        if digest != known:
            raise UserError(
                f"{plan.scores_file(name)}: its {model} is another file than that of {other}.json; "
                "remove the scores of one of them, and train and score again"
            )


def settings_of(result: Result, scores: Mapping[str, Scored]) -> list[Setting]:
    """A result's settings in the order of its cells, world by world."""
    groups: dict[tuple[str, str], list[FineTuning]] = {}
    for ft in result.fine_tunings:
        groups.setdefault((ft.world.name, ft.setting), []).append(ft)
    return [
        Setting(
            members[0],
            {ft.seed: scores[ft.name] for ft in members if ft.name in scores},
            len(members),
        )
        for members in groups.values()
    ]
