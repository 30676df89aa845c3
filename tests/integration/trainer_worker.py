"""A worker of test_trainer_processes: somebody's own script, with the callback added."""

import sys

from trainings import tiny_bert, trainer

from parp_fairseq.hf import PruningCallback

out = sys.argv[1]
run = trainer(
    out,
    tiny_bert(),
    PruningCallback("parp", 0.6, interval=3),
    save_strategy="steps",
    save_steps=4,
    eval_strategy="steps",
    eval_steps=4,
)
run.train(resume_from_checkpoint=len(sys.argv) > 2)
run.save_model(f"{out}/end")
