"""fairseq's own `examples/speech_recognition/new/infer.py`, made to start where it does not.

    python -m parp_fairseq.evaluation.infer task=audio_finetuning task.data=DIR task.labels=ltr \
        decoding.type=viterbi common_eval.path=CKPT decoding.results_path=OUT …

The script is run as it was installed. Removed from its way are: its folder, which is no package
that can be imported; dataclass defaults that Python 3.11 finds mutable; a `Path` where Hydra 1.3
wants a string; the task's name, which newer Hydra lets the script's empty default win over; a user
dir of its authors' machines, where no other is given; the locale, in which it would read labels
and manifests, which are UTF-8; and torch's refusal (from 2.6 on) to open
stock checkpoints, which hold fairseq's Dictionary. Nothing of the plugin is used: the file also
runs by itself where only fairseq is installed.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import runpy
import sys
from typing import Any


def main() -> None:
    """Run the script with the arguments in sys.argv."""
    import fairseq
    import hydra
    import torch
    from fairseq.data.audio import raw_audio_dataset
    from fairseq.data.dictionary import Dictionary
    from fairseq.dataclass import configs
    from fairseq.tasks import audio_finetuning

    root = os.path.dirname(fairseq.__file__)
    script = os.path.join(root, "examples", "speech_recognition", "new", "infer.py")
    if hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals([Dictionary])
    for module in (audio_finetuning, raw_audio_dataset):
        module.open = functools.partial(open, encoding="utf-8")
    for value in vars(configs).values():
        if dataclasses.is_dataclass(value):
            value.__hash__ = object.__hash__
    plain = dataclasses.dataclass

    def hashable(cls: Any = None, **options: Any) -> Any:
        if cls is not None and cls.__module__ == "__main__":
            options["unsafe_hash"] = True
        return plain(cls, **options)

    dataclasses.dataclass = hashable
    hydra_main = hydra.main
    hydra.main = lambda config_path, config_name: hydra_main(str(config_path), config_name)
    if not hydra.__version__.startswith("1.0."):
        sys.argv[1:] = [
            argument.replace("task=", "++task._name=", 1)
            if argument.startswith("task=")
            else f"++{argument}"
            if argument.startswith("task.")
            else argument
            for argument in sys.argv[1:]
        ]
    if not any(argument.lstrip("+~").startswith("common.user_dir") for argument in sys.argv):
        sys.argv.append("common.user_dir=null")
    sys.argv[0] = script
    # At the end: in front, fairseq's `logging` and `pdb` would hide Python's own.
    sys.path.append(root)
    # fairseq has looked for a package `examples` already, and any folder of that name where the
    # user stands (that of this project's clone, for one) passes for an empty one.
    for name in [name for name in sys.modules if name.split(".")[0] == "examples"]:
        del sys.modules[name]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    if __package__ is None:
        # Run as a file: its folder has no place on the path.
        del sys.path[0]
    main()
