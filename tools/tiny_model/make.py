#!/usr/bin/env python3
"""Make parp_fairseq/checkpoints/tiny.pt: about an hour on one core; after a kill, it goes on.

With --audio, pre-train on recordings instead of synthetic speech:
    tools/tiny_model/make.py --audio speechocean762/WAVE --width 192 --work runs/en --out en.pt
With --updates, stop on the way there: the same weights as the whole run has at that update.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

# The repository, and the folder of this package.
sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (1, 2)]

from parp_fairseq.checkpoints.shipped import TINY_MODEL  # noqa: E402
from parp_fairseq.errors import UserError  # noqa: E402
from tiny_model.pretrain import Settings, pretrain  # noqa: E402
from tiny_model.recorded import recorded_speech  # noqa: E402


def main() -> int:
    """Parse the command line and pre-train; 2 on bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/tiny"), help="speech and state")
    parser.add_argument("--out", type=Path, default=TINY_MODEL, help="checkpoint to write")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--width", type=int, default=Settings.width, help="of the transformer")
    parser.add_argument("--audio", type=Path, action="append", help="folder (may be repeated)")
    parser.add_argument("--updates", type=int, help="stop after so many (default: all 4,500)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    import torch

    torch.set_num_threads(options.threads)
    try:
        speech = recorded_speech(options.audio, options.seed) if options.audio else None
        settings = Settings(seed=options.seed, width=options.width)
        pretrain(settings, options.work, options.out, speech=speech, stop=options.updates)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
