"""Every file that holds weights, read as data: nothing that it holds is ever executed."""

from parp_fairseq.checkpoints.describe import (
    PretrainedInfo,
    config_section,
    describe_state,
    pretrained_info,
)
from parp_fairseq.checkpoints.safe_load import (
    DamagedCheckpoint,
    allow_fairseq_classes,
    check_evaluated_strings,
    load_checkpoint,
)

__all__ = [
    "DamagedCheckpoint",
    "PretrainedInfo",
    "allow_fairseq_classes",
    "check_evaluated_strings",
    "config_section",
    "describe_state",
    "load_checkpoint",
    "pretrained_info",
]
