"""A checkpoint of stock fairseq: dense tensors with zeros, and nothing of this package.

fairseq pickles its Dictionary into a checkpoint, and torch's safe loader (the default since 2.6,
in fairseq's own calls too) then refuses the file. So the dictionary is next to the checkpoint as
`dict.LABELS.txt`, where the task looks for it, and the checkpoint holds only plain values, among
them a digest of the symbols in their order. When the two are moved,
`load_model_ensemble_and_task([FILE], arg_overrides={"data": FOLDER})` finds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.dictionary import DIGEST_KEY, read_dictionary, symbols_digest
from parp_fairseq.checkpoints.fairseq_settings import keep_audio_keys
from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.formats import CHECKPOINT, output
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, check_output

_TASK = "audio_finetuning"


def export_fairseq(
    checkpoint: PathLike, out: PathLike, *, force: bool = False, sparsity: float | None = None
) -> dict[str, Any]:
    """Write a fine-tuned checkpoint, or a sparse file, as stock fairseq writes its own.

    It is pruned to `sparsity` first, if given; `dict.LABELS.txt` is written next to `out`. Left out
    are the plugin's settings, the optimizer's state and the place of the pre-trained file; keys of
    the tasks that some version of fairseq does not know are left to its defaults. Returns
    {"format", "out", "dictionary", "bytes"}. UserError where it cannot be exported, another
    dictionary (or a damaged one) is next to `out`, or nothing can be written there.
    """
    out = check_output(out, CHECKPOINT, inputs=[checkpoint], force=force)
    source = open_finetuned(checkpoint, sparsity=sparsity)
    own = out.parent / f"dict.{source.labels}.txt"
    # The same symbols with other counts stay: the file may be the data's own.
    keep = own.exists()
    if keep and read_dictionary(own) != source.symbols:
        raise UserError(
            f"{own} is another dictionary than the one of {source.path}; write {out.name} into "
            "a folder of its own"
        )
    import torch
    from fairseq.data import Dictionary

    folder = out.parent.absolute()
    state = {
        "args": None,
        "cfg": _stock_settings(source.complete_settings(), folder),
        "model": {name: tensor.contiguous() for name, tensor in source.weights.items()},
        "criterion": None,
        "optimizer_history": [
            {
                "criterion_name": "CtcCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {},
                "num_updates": source.updates,
            }
        ],
        "task_state": {},
        "extra_state": {
            "train_iterator": {"epoch": 1, "iterations_in_epoch": 0},
            DIGEST_KEY: symbols_digest(source.symbols),
        },
        "last_optimizer_state": None,
    }
    with output(out) as stage:
        written = stage / own.name
        source.dictionary.save(str(written))
        read = Dictionary.load(str(written))
        if read.symbols != source.dictionary.symbols:
            raise UserError(
                f"{source.path}: its dictionary cannot be written as {own.name} and read back "
                "the same (it has a duplicate symbol); use the format sparse"
            )
        if keep:
            written.unlink()
        torch.save(state, stage / out.name)
    return {
        "format": "fairseq",
        "out": str(out),
        "dictionary": str(own),
        "bytes": out.stat().st_size,
    }


def _stock_settings(settings: dict[str, Any], data: Path) -> dict[str, Any]:
    """The settings under stock names; `settings` is changed."""
    model, task = settings["model"], settings["task"]
    task["_name"] = _TASK
    keep_audio_keys(task)
    keep_audio_keys(model["w2v_args"]["task"])
    task["data"] = model["data"] = str(data)
    # The network is in w2v_args; the file that it came from is not read again.
    model["w2v_path"] = Path(str(model.get("w2v_path") or "pretrained.pt")).name
    settings.pop("job_logging_cfg", None)  # Hydra's own, with paths of the training's machine.
    settings.setdefault("common", {}).update(user_dir=None)
    settings["common"].setdefault("tpu", False)
    for section, ours in (("criterion", "parp_ctc"), ("optimizer", "parp")):
        if (settings.get(section) or {}).get("_name") == ours:
            settings[section] = (
                settings[section]["base"]
                if section == "optimizer"
                else {**settings[section], "_name": "ctc"}
            )
    return settings
