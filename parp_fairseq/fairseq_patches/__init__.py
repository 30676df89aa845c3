"""Everything that this project changes at run time in code that is not its own.

| what is changed | by | why |
|---|---|---|
| `fairseq.checkpoint_utils.torch_persistent_save`, `.PathManager` | `saving.write_whole_files` | \
checkpoints appear whole under their names |
| `fairseq.checkpoint_utils.save_checkpoint` | `saving.save_what_was_asked` | no best checkpoint \
below the target sparsity; no interval checkpoint is left out |
| `fairseq.trainer.NanDetector` | `saving.end_at_nan` | one line in place of every gradient |
| attributes of `save_checkpoint` and `should_stop_early`, `progress_bar._tensorboard_writers`, \
`logging.raiseExceptions`, `BackgroundConsumer._max_len` | `temporary.one_run` | nothing of a run \
reaches the next one or the end of Python; a full disk is one line |
| `fairseq.checkpoint_utils.load_checkpoint_to_cpu` | `temporary.repaired_loading`, while a model \
is built | pre-trained files of other versions of fairseq load |
| `open` in `fairseq.tasks.audio_finetuning` and `fairseq.data.audio.raw_audio_dataset` | \
`reading.read_utf8` | labels are UTF-8 whatever the locale |
| `numpy.random.default_rng` and numpy's global state | `temporary.numpy_seeded`, during a \
forward pass | a run is a function of its seed |
| torch's list of safe classes, `TORCH_FORCE_WEIGHTS_ONLY_LOAD` | \
`checkpoints.safe_load.allow_fairseq_classes` | fairseq's own `torch.load` runs no code |

Outside of this folder, since these must work before or without `parp_fairseq`:

| what is changed | by | why |
|---|---|---|
| `fairseq_cli.hydra_train._hydra_main`, `hydra._internal.utils.run_and_report` and, in Hydra 1.0, \
`.print_exception` | `hydra_plugins/parp_searchpath/launching.py` | checks before a training; one \
line for what Hydra refuses |
| `hydra.main`, `dataclasses.dataclass`, hashes of fairseq's config classes | \
`evaluation/infer.py` | fairseq's infer script starts on Python 3.11 with Hydra 1.3 |
| `open` where fairseq reads manifests and labels | `evaluation/infer.py` | as `reading.read_utf8` |
"""

from parp_fairseq.fairseq_patches import saving


def apply() -> None:
    """Change fairseq for trainings of task `parp` in this process; again does nothing new."""
    saving.write_whole_files()
    saving.save_what_was_asked()
    saving.end_at_nan()
