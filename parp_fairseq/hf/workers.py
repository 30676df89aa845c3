"""Workers of one training that compare their masks."""

from __future__ import annotations

import torch.distributed as dist

from parp_fairseq.errors import UserError


def check_same(checksum: int) -> None:
    """Compare a number with that of all other workers; alone, do nothing.

    Args:
        checksum: of this worker's mask.

    Raises:
        UserError: on every worker, where they differ.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    everywhere: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(everywhere, checksum)
    if len(set(everywhere)) > 1:
        raise UserError(
            f"the workers' masks differ (checksums {everywhere}), so their weights do; is a part "
            "of the model trained without exchanging gradients?"
        )
