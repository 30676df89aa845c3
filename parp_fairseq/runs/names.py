"""What a run's files are called. A run's folder is the one that Hydra makes for it."""

from parp_fairseq.checkpoints.formats import BEST as BEST
from parp_fairseq.checkpoints.formats import CHECKPOINTS as CHECKPOINTS
from parp_fairseq.checkpoints.formats import LAST as LAST

# In the run's folder, next to that of its checkpoints.
SCORES_FOLDER = "eval"  # what `parp eval --json` wrote
LOG_FILE = "hydra_train.log"

# In the folder of the checkpoints.
CRASH = "crash.pt"  # fairseq's, of a run that died of an error
RUN_FILE = "run.json"
MASK_FILE = "mask.safetensors"
INITIAL_MASK_FILE = "mask_first.safetensors"
SPARSITY_FILE = "sparsity.json"


def kept_update(update: int) -> str:
    """The checkpoint that `task.keep_update` leaves."""
    return f"checkpoint_update_{update}.pt"
