import pytest
from omegaconf import OmegaConf

from parp_fairseq.errors import UserError
from parp_fairseq.tasks.checks import refuse_unsupported


def run_with(method, *changes):
    plain = {
        "task": {"prune": {"method": method}},
        "optimizer": {"_name": "parp", "base": {"_name": "adam"}},
        "criterion": {"_name": "parp_ctc", "sentence_avg": True},
        "common": {"fp16": False, "cpu": True},
        "ema": {},
        "optimization": {},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "checkpoint": {"patience": -1, "best_checkpoint_metric": "wer"},
    }
    return OmegaConf.merge(OmegaConf.create(plain), OmegaConf.from_dotlist(list(changes)))


# The method, what is set, and what is said.
REFUSED = [
    ("parp_p", "checkpoint.patience=3", r"checkpoint\.patience=3: .*ramps up"),
    ("parp", "criterion._name=ctc", r"criterion\._name=ctc: set .*=parp_ctc"),
    ("mpi", "ema.store_ema=true", "store_ema=True: set ema.store_ema=False .*average"),
    ("parp", "optimization.use_bmuf=true", "block-momentum averaging"),
    ("parp", "distributed_training.zero_sharding=os", "sharded state"),
    ("parp", "distributed_training.ddp_backend=fully_sharded", "not whole on every"),
    ("dense", "optimizer._name=adam", r"set optimizer\._name=parp \(.* optimizer\.base"),
    ("dense", "optimizer._name=null", r"set optimizer\._name=parp"),
    ("parp", "task.labels=phn criterion.post_process=null", "set criterion.post_process=none"),
    ("dense", "optimizer.base._name=composite", "base._name is 'composite'"),
    ("dense", "common.fp16=true", "common.fp16=true: .*common.bf16=true"),
    (
        "dense",
        "task.keep_update=5 optimization.max_update=4",
        "task.keep_update is 5, and the run ends at update 4",
    ),
    (
        "parp",
        "task.labels=phn criterion.post_process=letter",
        "post_process=letter: set criterion.post_process=none .* not joined into words",
    ),
    ("dense", "checkpoint.checkpoint_suffix=_x", "by their plain names"),
    ("dense", "model.layer_type=trf_adp", "number of adapters"),
    ("dense", "model.layer_decay=0.9", "data2vec 2.0 only"),
    ("dense", "checkpoint.best_checkpoint_metric=accuracy", "gives loss, uer, wer,"),
    (
        "dense",
        "checkpoint.best_checkpoint_metric=nll_loss criterion.sentence_avg=false",
        "=nll_loss: a validation gives loss, uer, wer, raw_wer$",
    ),
    ("dense", "checkpoint.maximize_best_checkpoint_metric=true", "the worst would be"),
    ("dense", "checkpoint.write_checkpoints_asynchronously=true", "saves no last or best"),
]


@pytest.mark.parametrize(("method", "changes", "message"), REFUSED)
def test_refused(method, changes, message):
    refuse_unsupported(run_with(method))
    with pytest.raises(UserError, match=message):
        refuse_unsupported(run_with(method, *changes.split()))


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("parp", "checkpoint.patience=3"),
        ("parp", "checkpoint.checkpoint_suffix=null optimization.use_bmuf=null"),
        ("dense", "criterion._name=ctc ema.store_ema=true"),
        ("dense", "checkpoint.patience=3 checkpoint.best_checkpoint_metric=nll_loss"),
        ("dense", "checkpoint.best_checkpoint_metric=accuracy dataset.disable_validation=true"),
    ],
)
def test_allowed(method, changes):
    refuse_unsupported(run_with(method, *changes.split()))


@pytest.mark.parametrize(
    ("epochs", "updates", "interval", "refused"),
    [(2, 0, 1000, True), (3, 0, 2, True), (4, 0, 2, False), (2, 9, 1000, False), (0, 9, 5, False)],
)
def test_an_end_that_fairseq_would_not_save(epochs, updates, interval, refused):
    length = f"optimization.max_epoch={epochs}", f"optimization.max_update={updates}"
    run = run_with("dense", *length, f"checkpoint.save_interval={interval}")
    if refused:
        with pytest.raises(UserError, match=f"save_interval={interval}: the run ends with epoch"):
            refuse_unsupported(run)
    else:
        refuse_unsupported(run)
    refuse_unsupported(OmegaConf.merge(run, {"checkpoint": {"no_save": True}}))
