"""GPUs of one machine: enough for a training, and shared out among those side by side."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from experiments.plan import Plan
from parp_fairseq.errors import UserError
from parp_fairseq.files import locked

_PAUSE = 1.0


def check_count(plan: Plan, name: str, count: int) -> None:
    """See, before a training starts, that it has the GPUs that its batch is made for.

    Raises:
        UserError: this machine has fewer.
    """
    if not count or plan.devices:
        return
    import torch

    found = torch.cuda.device_count()
    if found < count:
        raise UserError(
            f"{name} trains on {count} GPUs, and {found} can be seen here; --config gpus=N keeps "
            "its batch on N of them"
        )


@contextlib.contextmanager
def taken(plan: Plan, count: int) -> Iterator[dict[str, str]]:
    """Wait until `count` of the plan's devices are free, and have them alone.

    Yields:
        The environment that shows a program these and no others; empty where the plan names no
        devices or none is needed.
    """
    if not count or not plan.devices:
        yield {}
        return
    while True:
        # All or none: two that wait for each other's would wait for ever.
        with contextlib.ExitStack() as held:
            mine: list[str] = []
            for device in plan.devices:
                with contextlib.suppress(UserError):
                    held.enter_context(locked(plan.work / "locks" / f"gpu-{device}", "a training"))
                    mine.append(device)
                if len(mine) == count:
                    yield {"CUDA_VISIBLE_DEVICES": ",".join(mine)}
                    return
        time.sleep(_PAUSE)
