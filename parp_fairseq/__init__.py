"""PARP (Prune, Adjust and Re-Prune, NeurIPS 2021) as a fairseq user dir.

Importing this package inside a fairseq program registers the task `parp`, the criterion `parp_ctc`
and the optimizer `parp`, has labels read as UTF-8 whatever the locale, and does nothing else.
Outside of one (the `parp` command, or `parp_fairseq.pruning` in plain torch) it does not load
fairseq, which takes seconds.
"""

import sys

from parp_fairseq._version import __version__

if "fairseq" in sys.modules:
    from parp_fairseq import criterions, models, optim, tasks  # noqa: F401

__all__ = ["__version__"]
