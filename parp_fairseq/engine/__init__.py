"""Running what was pruned: which layers of a torch model are faster sparse, and their forward.

from parp_fairseq.engine import accelerate
print(accelerate(model).render())
"""

from parp_fairseq.engine.acceleration import Acceleration, EngineError, accelerate

__all__ = ["Acceleration", "EngineError", "accelerate"]
