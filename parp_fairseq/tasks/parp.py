"""Task `parp`: fine-tuning for speech recognition with a Pruner beside the Trainer."""

# No `from __future__ import annotations`: fairseq reads the dataclass's types as they stand.
import contextlib
import io
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.optim import FairseqOptimizer
from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask
from omegaconf import DictConfig, OmegaConf

from parp_fairseq.checkpoints.initial_masks import InitialMask
from parp_fairseq.checkpoints.prunable_weights import random_weights
from parp_fairseq.checkpoints.reading import allow_fairseq_classes, load_checkpoint
from parp_fairseq.checkpoints.repair import repaired_loading
from parp_fairseq.errors import UserError, options_named, reported
from parp_fairseq.files import sha256
from parp_fairseq.optim.precision import optimized_weights, parp_optimizer
from parp_fairseq.pruning import Pruner
from parp_fairseq.pruning.scope import canonical_name
from parp_fairseq.runs import record as records
from parp_fairseq.tasks import config as prune_config
from parp_fairseq.tasks import dictionary, launch, rows
from parp_fairseq.tasks.config import PruneConfig
from parp_fairseq.tasks.experiment import CONTENTS_KEY, Experiment
from parp_fairseq.tasks.keeping import keep_update
from parp_fairseq.tasks.randomness import numpy_seeded
from parp_fairseq.tasks.saving import save_whole

logger = logging.getLogger(__name__)


@dataclass
class ParpTaskConfig(AudioFinetuningConfig):
    """Options of audio_finetuning, and how to prune."""

    prune: PruneConfig = field(default_factory=PruneConfig)
    keep_update: int = field(
        default=0,
        metadata={"help": "keep the weights after this update as checkpoint_update_N.pt (0: none)"},
    )
    folder: Optional[str] = field(
        default=None,
        metadata={"help": "folder that relative paths mean (default: the current one)"},
    )
    resume_with_changes: bool = field(
        default=False,
        metadata={"help": "go on with a run although its settings or data have changed"},
    )


@register_task("parp", dataclass=ParpTaskConfig)
class ParpTask(AudioFinetuningTask):
    """Fine-tune with CTC; zero weights when the Pruner says so.

    Attributes:
        pruner: None for a dense run, or where the task was set up only to decode.
    """

    cfg: ParpTaskConfig

    def __init__(self, cfg: ParpTaskConfig) -> None:
        """Set up like audio_finetuning."""
        super().__init__(cfg)
        self.pruner: Optional[Pruner] = None
        self._model: Optional[torch.nn.Module] = None
        self._first: Optional[InitialMask] = None
        self._epochs_done = 0
        self._seen_update = -1
        self._micro_batch = 0
        self._seen_events = 0
        self._emptied: set[str] = set()
        self._source: Optional[dict[str, str]] = None
        self._experiment: Optional[Experiment] = None
        allow_fairseq_classes()

    def build_model(self, model_cfg: DictConfig, from_checkpoint: bool = False) -> torch.nn.Module:
        """Build the model; before a training, check everything that can be checked first."""
        if from_checkpoint:
            return super().build_model(model_cfg, from_checkpoint)
        with reported():
            run = self.cfg._get_root()
            self._experiment = launch.experiment(self.cfg, model_cfg, run)
            save_whole()
            prune = self.cfg.prune
            pruner = prune_config.make_pruner(prune, run.optimization.max_update)
            # fairseq prints the model here, and logs it a moment later.
            with repaired_loading(), contextlib.redirect_stdout(io.StringIO()):
                model = super().build_model(model_cfg, from_checkpoint)
            if pruner is not None:
                spec = prune_config.spec_of(prune)
                weights = dict(model.named_parameters())
                with options_named(prune_config.PREFIX):
                    weights = {name: weights[name] for name in spec.scope.select(weights)}
                path = model_cfg.w2v_path
                self._first = InitialMask(
                    spec,
                    pruner.schedule.at(0),
                    weights,
                    random_weights=lambda: random_weights(
                        load_checkpoint(path), path, weights, spec.seed
                    ),
                    prefix=prune_config.PREFIX,
                )
                model._register_state_dict_hook(self._show_subnetwork)
                self.pruner, self._model = pruner, model
            launch.checks_passed(run)
        return model

    def load_dataset(self, split: str, *args: Any, **kwargs: Any) -> None:
        """Load a split; in training, an audio file that cannot be used is told by its row."""
        super().load_dataset(split, *args, **kwargs)
        if self._experiment is not None:
            tsv = Path(self.cfg.data, f"{split}.tsv")
            self.datasets[split] = rows.NamedRows(self.datasets[split], tsv)

    def state_dict(self) -> dict[str, Any]:
        """Return the dictionary as plain lists and, in training, digests of what was read."""
        state = dictionary.saved(self.target_dictionary)
        if self._experiment is not None:
            state[CONTENTS_KEY] = dict(self._experiment.contents)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the dictionary from what `state_dict` returned."""
        plain = dictionary.taken_from(state_dict)
        plain.pop(CONTENTS_KEY, None)
        super().load_state_dict(plain)

    def begin_epoch(self, epoch: int, model: torch.nn.Module) -> None:
        """Note the epoch, which counts from 1."""
        super().begin_epoch(epoch, model)
        self._epochs_done = epoch - 1

    def train_step(
        self,
        sample: dict[str, Any],
        model: torch.nn.Module,
        criterion: torch.nn.Module,
        optimizer: FairseqOptimizer,
        update_num: int,
        ignore_grad: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Forward and backward, on θ; an epoch's pruning comes before its first update."""
        rows.refuse_unusable(sample)
        if update_num != self._seen_update:
            with reported():
                if self._seen_update < 0:
                    self._start(optimizer, update_num)
                if self.pruner is not None:
                    self.pruner.begin_update(self._epochs_done, update_num)
                    self._after_event()
            self._seen_update, self._micro_batch = update_num, 0
        seed = self.cfg._get_root().common.seed
        rank = distributed_utils.get_global_rank()
        with numpy_seeded(seed, update_num, self._micro_batch, rank):
            result = super().train_step(
                sample, model, criterion, optimizer, update_num, ignore_grad, **kwargs
            )
        self._micro_batch += 1
        return result

    def valid_step(
        self, sample: dict[str, Any], model: torch.nn.Module, criterion: torch.nn.Module
    ) -> Any:
        """Score a batch."""
        rows.refuse_unusable(sample)
        return super().valid_step(sample, model, criterion)

    def optimizer_step(
        self, optimizer: FairseqOptimizer, model: torch.nn.Module, update_num: int
    ) -> None:
        """Update the weights, then prune if it is time; `update_num` does not count this one."""
        if self.pruner is None:
            super().optimizer_step(optimizer, model, update_num)
            self._keep(model, update_num + 1)
            return
        parp = parp_optimizer(optimizer)
        steps = parp.steps
        super().optimizer_step(optimizer, model, update_num)
        if parp.steps == steps:
            # AMP found an overflow, left the weights alone and will come back.
            return
        with reported():
            self.pruner.end_update(update_num + 1)
            self._keep(model, update_num + 1)
            self._after_event()
            if update_num + 1 == self.pruner.total_updates:
                self._write_mask()

    def _keep(self, model: torch.nn.Module, update: int) -> None:
        if update == self.cfg.keep_update and distributed_utils.get_global_rank() == 0:
            with reported():
                keep_update(model, self.cfg._get_root(), self.state_dict(), update)

    def begin_valid_epoch(self, epoch: int, model: torch.nn.Module) -> None:
        """Show the subnetwork to be scored, write its mask, and hold back "best" on a climb."""
        super().begin_valid_epoch(epoch, model)
        if self.pruner is None or not self.pruner.started:
            return
        self.pruner.apply_mask()
        self._write_mask()
        save = checkpoint_utils.save_checkpoint
        maximize = self.cfg._get_root().checkpoint.maximize_best_checkpoint_metric
        unbeatable = math.inf if maximize else -math.inf
        if not self.pruner.at_target:
            save.best = unbeatable
        elif getattr(save, "best", None) == unbeatable:
            del save.best

    def post_validate(self, model: torch.nn.Module, stats: dict[str, Any], agg: Any) -> None:
        """Leave the stand-in for "best" out of the log."""
        for key in [key for key, value in stats.items() if key.startswith("best_")]:
            if math.isinf(stats[key]):
                del stats[key]

    def reduce_metrics(self, logging_outputs: Any, criterion: torch.nn.Module) -> None:
        """Log the meters of pruning beside those of the criterion."""
        super().reduce_metrics(logging_outputs, criterion)
        pruner = self.pruner
        if pruner is None or not pruner.started:
            return
        # Weight 0: a meter shows its last value, not an average.
        for priority, (name, value, digits) in enumerate(
            (
                ("sparsity", pruner.sparsity, 4),
                ("mask_iou", pruner.mask_iou, 6),
                ("revived", pruner.revived, 6),
                ("threshold", pruner.threshold, 6),
            )
        ):
            metrics.log_scalar(name, value, weight=0, priority=1700 + priority, round=digits)

    def _start(self, optimizer: FairseqOptimizer, update_num: int) -> None:
        """Begin or go on, once everything is loaded."""
        run = self.cfg._get_root()
        if self.pruner is not None:
            self._bind(optimizer, update_num)
        if distributed_utils.get_global_rank() == 0:
            plain = OmegaConf.to_container(run, resolve=True, enum_to_str=True)
            changed = [str(difference) for difference in self._experiment.changed]
            contents = self._experiment.contents
            folder = Path(run.checkpoint.save_dir)
            records.write_start(folder, plain, update_num, contents=contents, changed=changed)

    def _bind(self, optimizer: FairseqOptimizer, update_num: int) -> None:
        """Give the Pruner the weights, and its state or the first mask."""
        parp = parp_optimizer(optimizer)
        names = self._first.names
        parameters = {n: p for n, p in self._model.named_parameters() if n in names}
        frozen = sorted(name for name, weight in parameters.items() if not weight.requires_grad)
        if frozen:
            raise UserError(
                f"{frozen[0]} is prunable but frozen; take it out with task.prune.exclude"
            )
        weights, copies = optimized_weights(optimizer, parameters)
        state = parp.attach(self.pruner, masters=bool(copies))
        if state is not None:
            if self._experiment.changed:
                # The user wants it so, and what cannot change was compared already.
                state = {**state, "settings": self.pruner.settings}
            self.pruner.restore(weights, state, copies)
            logger.info(f"pruning goes on at sparsity {self.pruner.sparsity:.4f}")
        elif update_num > 0:
            raise UserError(
                f"{self.cfg._get_root().checkpoint.restore_file}: this checkpoint holds no pruning "
                "state to go on from; to begin with its weights use checkpoint.finetune_from_model"
            )
        else:
            zeros = sorted(name for name, weight in weights.items() if not bool(weight.any()))
            if zeros:
                logger.warning(
                    f"{len(zeros)} prunable tensors are all zero before any pruning, the first is "
                    f"{canonical_name(zeros[0])}: is this the checkpoint you mean?"
                )
            mask, threshold = self._first.make(weights)
            self.pruner.start(weights, mask, threshold, copies)
            logger.info(
                f"pruned {mask.numel - mask.kept:,} of {mask.numel:,} entries in {len(mask)} "
                f"tensors: sparsity {mask.sparsity:.4f}, threshold {threshold:.3g}"
            )
            self._write_mask(first=True)
        self._first = None
        self._check_mask()

    def _after_event(self) -> None:
        if self.pruner.events != self._seen_events:
            self._check_mask()

    def _check_mask(self) -> None:
        """Compare the mask with the other workers', and name what it leaves empty."""
        pruner = self.pruner
        self._seen_events = pruner.events
        mask = pruner.mask
        emptied = {name for name in mask if not mask.kept_in(name)} - self._emptied
        if emptied and pruner.sparsity < 1.0:
            self._emptied |= emptied
            names = ", ".join(sorted(canonical_name(name) for name in emptied))
            logger.warning(
                f"sparsity {pruner.sparsity:.4f} prunes every entry of {names}; a lower "
                "task.prune.sparsity or task.prune.granularity=tensor keeps some"
            )
        if distributed_utils.get_data_parallel_world_size() > 1:
            # The largest and, by its sign, the smallest checksum in one call.
            device = next(self._model.parameters()).device
            own = pruner.checksum()
            extremes = torch.tensor([own, -own], device=device)
            torch.distributed.all_reduce(
                extremes,
                torch.distributed.ReduceOp.MAX,
                group=distributed_utils.get_data_parallel_group(),
            )
            largest, smallest = int(extremes[0]), -int(extremes[1])
            if largest != smallest:
                raise UserError(
                    f"the workers' masks differ after pruning {pruner.events} (checksums from "
                    f"{smallest:08x} to {largest:08x}): their weights have drifted apart; start "
                    "again from the last checkpoint, and report it if it happens again"
                )

    def _write_mask(self, first: bool = False) -> None:
        if distributed_utils.get_global_rank() != 0:
            return
        if self._source is None:
            path = Path(self.cfg._get_root().model.w2v_path)
            self._source = {"file": path.name, "sha256": sha256(path)}
        mask = self.pruner.initial_mask if first else self.pruner.current_mask()
        info = {
            "method": self.cfg.prune.method,
            "sparsity": mask.sparsity,
            "updates": 0 if first else self._seen_update + 1,
            "scope": {
                "include": list(self.cfg.prune.include),
                "exclude": list(self.cfg.prune.exclude),
                "biases": self.cfg.prune.biases,
            },
            "granularity": self.cfg.prune.granularity,
            "seed": self.cfg.prune.seed,
            "source": self._source,
        }
        records.write_mask(Path(self.cfg._get_root().checkpoint.save_dir), mask, info, first)

    def _show_subnetwork(self, module: Any, state_dict: Any, prefix: str, local: Any) -> None:
        # What is saved is m⊙θ; the weights themselves stay as they are.
        if self.pruner is not None:
            for name in self.pruner.names:
                state_dict[prefix + name] = self.pruner.masked(name, state_dict[prefix + name])
