#!/usr/bin/env python3
"""Make parp_fairseq/checkpoints/tiny.pt: about an hour on one core.

Rerun the same command to resume after a kill.

With --audio, pre-train on recordings instead of synthetic speech:
    tools/tiny_model/make.py --audio speechocean762/WAVE --width 192 --work runs/en --out en.pt

With --updates, stop on the way there: the same weights as the whole run has at that update.

With --languages, on synthetic speech of these, as many speakers of each (README.md):
    tools/tiny_model/make.py --languages nl,fr,ru,tr --work runs/four --out four.pt
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

# The repository, and the folder of this package.
sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (1, 2)]

from parp_fairseq.checkpoints.formats import TINY_MODEL  # noqa: E402
from parp_fairseq.demo.sentences import check_language  # noqa: E402
from parp_fairseq.errors import UserError  # noqa: E402
from tiny_model.pretrain import Settings, pretrain  # noqa: E402
from tiny_model.recorded import recorded_speech  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and pre-train; 2 on bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/tiny"), help="speech and state")
    parser.add_argument("--out", type=Path, default=TINY_MODEL, help="checkpoint to write")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--width", type=int, default=Settings.width, help="of the transformer")
    parser.add_argument("--audio", type=Path, action="append", help="folder (may be repeated)")
    parser.add_argument("--languages", help="codes, with commas between (default: English)")
    parser.add_argument("--speakers", type=int, default=Settings.speakers)
    parser.add_argument("--rounds", help="updates of each round: 600,1200 (default: 1000,3500)")
    parser.add_argument("--updates", type=int, help="stop after so many (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    try:
        settings = read_settings(options)
        import torch

        torch.set_num_threads(options.threads)
        speech = recorded_speech(options.audio, options.seed) if options.audio else None
        pretrain(settings, options.work, options.out, speech=speech, stop=options.updates)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_settings(options: argparse.Namespace) -> Settings:
    """What the options say. Raises UserError, naming the option."""
    languages = tuple(options.languages.split(",")) if options.languages else ()
    for language in languages:
        check_language(language)
    if languages and options.audio:
        raise UserError("--languages does not go with --audio; give one of them")
    if languages and options.out == TINY_MODEL:
        raise UserError(f"--languages would replace {TINY_MODEL}, the English model; give --out")
    least = max(Settings.held_out + 1, len(languages))
    if options.speakers < least:
        raise UserError(f"--speakers is {options.speakers}, expected {least} or more")
    settings = Settings(
        seed=options.seed, width=options.width, languages=languages, speakers=options.speakers
    )
    if not options.rounds:
        return settings
    updates = [int(one) if one.isdigit() else 0 for one in options.rounds.split(",")]
    if len(updates) != len(settings.rounds) or min(updates) < 1:
        raise UserError(
            f"--rounds is {options.rounds}, expected {len(settings.rounds)} numbers of 1 or more"
        )
    rounds = zip(settings.rounds, updates)
    return replace(settings, rounds=tuple(replace(one, updates=n) for one, n in rounds))


if __name__ == "__main__":
    sys.exit(main())
