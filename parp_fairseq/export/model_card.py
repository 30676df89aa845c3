"""The model card of an exported folder: README.md, as Hugging Face's hub reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.finetuned import FineTuned
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

CARD_FILE = "README.md"

# Format of an export → the library that opens it. How to run each is in card_{format}.md.
_LIBRARIES = {"hf": "transformers", "onnx": "onnx"}


def read_scores(
    file: PathLike | None, checkpoint: PathLike, sparsity: float | None = None
) -> list[dict[str, Any]]:
    """The scores, without a language model, of what is exported; none for None.

    Args:
        file: of `parp eval --json`.
        checkpoint: that is exported.
        sparsity: that it is pruned to first.

    Raises:
        UserError: it is no such file, or holds no such score.
    """
    if file is None:
        return []
    wanted = os.path.realpath(checkpoint)
    try:
        found = [
            score
            for score in json.loads(Path(file).read_text(encoding="utf-8"))
            if os.path.realpath(score["checkpoint"]) == wanted
            and score["weights"] != "theta"
            and score.get("sparsity") == sparsity
            and score.get("lm") is None
        ]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"--scores {file} is no file of parp eval --json ({error!r})") from error
    if not found:
        level = "" if sparsity is None else f" --sparsity {sparsity:g}"
        todo = f"make one: parp eval {checkpoint}{level} --data DIR --split NAME --json FILE"
        raise UserError(f"--scores {file} holds no score of {checkpoint}{level}; {todo}")
    return found


def model_card(
    source: FineTuned, form: str, scores: list[dict[str, Any]], license: str | None
) -> str:
    """The card's text: what the checkpoint says of itself, `scores`, and how to run `form`."""
    import yaml

    from parp_fairseq.evaluation.decode import share_of_zeros

    settings, zeros = source.settings(), share_of_zeros(source.state)
    task, model = settings.get("task") or {}, settings["model"]
    prune = task.get("prune") or {}
    method = prune.get("method") or "not recorded"
    if prune and method != "dense":
        method += f", sparsity {prune.get('sparsity')}, every "
        method += f"{prune.get('interval')} {prune.get('interval_unit')}s"
    facts = {
        "base model": Path(model.get("w2v_path") or "").name or f"a {source.info.kind}",
        "method": method,
        "zeros among the prunable weights": "none" if zeros is None else f"{zeros:.2%}",
        "training data": Path(task.get("data") or "").name or "not recorded",
        "updates": f"{source.updates:,}" if source.updates else "not recorded",
        "labels": source.labels,
        "licence": license or "not stated; those of the base model and of the data hold",
    }
    about: dict[str, Any] = {"license": license} if license else {}
    about |= {"library_name": _LIBRARIES[form], "pipeline_tag": "automatic-speech-recognition"}
    about["tags"] = [source.info.kind, "ctc", "pruned", "parp"]
    lines = ["---", yaml.safe_dump(about, sort_keys=False) + "---"]
    lines += [f"# A sparse {source.info.kind} for speech recognition", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {fact} |" for name, fact in facts.items()]
    if scores:
        lines += ["", "| split | metric | % | 95% interval |", "|---|---|---:|---|"]
    for score in scores:
        interval = f"{score['rate_low']:.2f} to {score['rate_high']:.2f}"
        lines.append(f"| {score['split']} | {score['metric']} | {score['rate']:.2f} | {interval} |")
    run = Path(__file__).with_name(f"card_{form}.md").read_text(encoding="utf-8")
    return "\n".join([*lines, "", run])
