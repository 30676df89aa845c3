"""Task `parp`: fine-tuning for speech recognition with a Pruner next to the Trainer."""

import contextlib
import io
import itertools
import logging
import math
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq.data import BaseWrapperDataset
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.optim import FairseqOptimizer
from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningTask
from omegaconf import DictConfig, OmegaConf

from parp_fairseq import fairseq_patches
from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY, dictionary_from, plain_dictionary
from parp_fairseq.checkpoints.initial_masks import InitialMask
from parp_fairseq.checkpoints.prunable_weights import random_weights
from parp_fairseq.checkpoints.safe_load import allow_fairseq_classes, load_checkpoint
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.fairseq_patches import numpy_seeded, repaired_loading, save_weights
from parp_fairseq.optim.parp import learning_rates, optimized_weights, parp_optimizer
from parp_fairseq.pruning import Pruner
from parp_fairseq.pruning.reach import look_ahead, motion_of
from parp_fairseq.pruning.scope import canonical_name
from parp_fairseq.runs import record as records
from parp_fairseq.runs.names import kept_update
from parp_fairseq.tasks import config as prune_config
from parp_fairseq.tasks.checks import misfit_named
from parp_fairseq.tasks.config import ParpTaskConfig

logger = logging.getLogger(__name__)


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
        self._initial: Optional[InitialMask] = None
        self._epochs_done = 0
        self._update = -1
        self._micro_batch = 0
        self._checked_event = -1
        allow_fairseq_classes()

    @property
    def _run(self) -> DictConfig:
        """The whole configuration."""
        return self.cfg._get_root()

    def build_model(self, model_cfg: DictConfig, from_checkpoint: bool = False) -> torch.nn.Module:
        """Build the model and, for a training, the Pruner."""
        if from_checkpoint:
            return super().build_model(model_cfg, from_checkpoint)
        if not self.cfg.contents:
            raise UserError(
                "task parp trains by fairseq-hydra-train, with parp-fairseq installed (pip install "
                ".): its Hydra plugin checks data and settings first"
            )
        fairseq_patches.apply()
        prune = self.cfg.prune
        pruner = prune_config.make_pruner(prune, self._run.optimization.max_update)
        # fairseq prints the model, and then logs it.
        quiet = contextlib.redirect_stdout(io.StringIO())
        with repaired_loading(), misfit_named(model_cfg.w2v_path), quiet:
            model = super().build_model(model_cfg, from_checkpoint)
        if pruner is not None:
            spec = prune_config.spec_of(prune)
            weights = dict(model.named_parameters())
            with options_named(prune_config.PREFIX):
                weights = {name: weights[name] for name in spec.scope.select(weights)}
            path = model_cfg.w2v_path
            self._initial = InitialMask(
                spec,
                pruner.schedule.at(0),
                weights,
                random_weights=lambda: random_weights(
                    load_checkpoint(path), path, weights, spec.seed
                ),
                prefix=prune_config.PREFIX,
            )
            model._register_state_dict_hook(self._save_subnetwork)
            self.pruner, self._model = pruner, model
        return model

    def load_dataset(self, split: str, *args: Any, **kwargs: Any) -> None:
        """Load a split; in training, audio that cannot be used is named by its row."""
        super().load_dataset(split, *args, **kwargs)
        if self.cfg.contents:
            tsv = Path(self.cfg.data, f"{split}.tsv")
            self.datasets[split] = NamedRows(self.datasets[split], tsv)

    def state_dict(self) -> dict[str, Any]:
        """Return the dictionary as plain lists; torch's safe loader opens no fairseq object."""
        return {SYMBOLS_KEY: plain_dictionary(self.target_dictionary)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the dictionary from what `state_dict` returned."""
        plain = {key: value for key, value in state_dict.items() if not key.startswith("parp_")}
        if SYMBOLS_KEY in state_dict:
            plain["target_dictionary"] = dictionary_from(state_dict[SYMBOLS_KEY])
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
        if update_num != self._update:
            if self._update < 0:
                self._start(optimizer, update_num)
            if self.pruner is not None:
                self.pruner.begin_update(self._epochs_done, update_num)
                self._check_mask()
            self._update, self._micro_batch = update_num, 0
        rank = distributed_utils.get_global_rank()
        with numpy_seeded(self._run.common.seed, update_num, self._micro_batch, rank):
            result = super().train_step(
                sample, model, criterion, optimizer, update_num, ignore_grad, **kwargs
            )
        self._micro_batch += 1
        return result

    def optimizer_step(
        self, optimizer: FairseqOptimizer, model: torch.nn.Module, update_num: int
    ) -> None:
        """Update the weights, then prune if it is time; `update_num` does not count this one."""
        updates, parp = update_num + 1, parp_optimizer(optimizer)
        steps, rate = parp.steps, max(group["lr"] for group in parp.param_groups)
        super().optimizer_step(optimizer, model, update_num)
        if parp.steps == steps:
            # AMP found an overflow, left the weights as they are and will repeat the update.
            return
        if self.pruner is not None:
            self.pruner.end_update(updates, rate)
        if updates == self.cfg.keep_update and distributed_utils.get_global_rank() == 0:
            file = Path(self._run.checkpoint.save_dir, kept_update(updates))
            save_weights(file, model, self._run, self.state_dict(), updates)
        if self.pruner is not None:
            self._check_mask()
            if updates == self.pruner.total_updates:
                self._write_mask()

    def begin_valid_epoch(self, epoch: int, model: torch.nn.Module) -> None:
        """Apply the mask that is scored, and write it."""
        super().begin_valid_epoch(epoch, model)
        if self.pruner is not None and self.pruner.started:
            self.pruner.apply_mask()
            self._write_mask()

    def reduce_metrics(self, logging_outputs: Any, criterion: torch.nn.Module) -> None:
        """Log the meters of pruning as well as those of the criterion."""
        super().reduce_metrics(logging_outputs, criterion)
        pruner = self.pruner
        if pruner is None or not pruner.started:
            return
        digits = {"sparsity": 4, "mask_iou": 6, "revived": 6, "threshold": 6, "reach": 4}
        for priority, (name, round_to) in enumerate(digits.items(), 1700):
            value = getattr(pruner, name)
            if math.isfinite(value):
                # Weight 0: a meter shows its last value, not an average.
                metrics.log_scalar(name, value, weight=0, priority=priority, round=round_to)

    def _start(self, optimizer: FairseqOptimizer, update_num: int) -> None:
        """Begin or resume, once everything is loaded."""
        if self.pruner is not None:
            self._bind(optimizer, update_num)
        if distributed_utils.get_global_rank() == 0:
            plain = OmegaConf.to_container(self._run, resolve=True, enum_to_str=True)
            records.write_start(Path(self._run.checkpoint.save_dir), plain, update_num)

    def _bind(self, optimizer: FairseqOptimizer, update_num: int) -> None:
        """Give the Pruner the weights, and its state or the initial mask."""
        parp = parp_optimizer(optimizer)
        names = self._initial.names
        parameters = {n: p for n, p in self._model.named_parameters() if n in names}
        frozen = sorted(name for name, weight in parameters.items() if not weight.requires_grad)
        if frozen:
            raise UserError(
                f"{frozen[0]} is prunable but frozen; take it out with task.prune.exclude"
            )
        weights, copies = optimized_weights(optimizer, parameters)
        state = parp.attach(self.pruner, masters=bool(copies))
        if state is not None:
            if self.cfg.changed:
                # The user wants it so, and what cannot change was compared already.
                state = {**state, "settings": self.pruner.settings}
            self.pruner.restore(weights, state, copies)
            logger.info(f"pruning resumes at sparsity {self.pruner.sparsity:.4f}")
        elif update_num > 0:
            raise UserError(
                f"{self._run.checkpoint.restore_file}: this checkpoint holds no pruning state to "
                "resume; to begin with its weights use checkpoint.finetune_from_model"
            )
        else:
            zeros = sorted(name for name, weight in weights.items() if not bool(weight.any()))
            if zeros:
                logger.warning(
                    f"{len(zeros)} prunable tensors are all zero before any pruning, the first is "
                    f"{canonical_name(zeros[0])}: is this the right checkpoint?"
                )
            mask, threshold = self._initial.make(weights)
            self.pruner.start(weights, mask, threshold, copies)
            logger.info(
                f"pruned {mask.numel - mask.kept:,} of {mask.numel:,} entries in {len(mask)} "
                f"tensors: sparsity {mask.sparsity:.4f}, threshold {threshold:.3g}"
            )
            self._write_mask(first=True)
        self._initial = None
        self.pruner.motion = motion_of(parp.optimizer)
        if distributed_utils.get_global_rank() == 0:
            self._say_what_can_regrow(update_num)

    def _say_what_can_regrow(self, updates: int) -> None:
        iterator = self.dataset_to_epoch_iter.get(self.datasets[self._run.dataset.train_subset])
        rates, ends = learning_rates(self._run, 0 if iterator is None else len(iterator))
        if rates[updates:]:
            ahead = [end - updates for end in ends]
            outlook = look_ahead(
                self.pruner, rates[updates:], ahead, f"{prune_config.PREFIX}interval"
            )
            if outlook is not None:
                level = logging.WARNING if outlook.regrows is False else logging.INFO
                logger.log(level, outlook.line)

    def _check_mask(self) -> None:
        """After a pruning, compare the mask with other workers'."""
        pruner, workers = self.pruner, distributed_utils.get_data_parallel_world_size()
        if pruner.events == self._checked_event or workers == 1:
            return
        self._checked_event = pruner.events
        # The largest and, by its sign, the smallest checksum in one call.
        own, device = pruner.checksum(), next(self._model.parameters()).device
        extremes = torch.tensor([own, -own], device=device)
        group = distributed_utils.get_data_parallel_group()
        torch.distributed.all_reduce(extremes, torch.distributed.ReduceOp.MAX, group=group)
        largest, smallest = int(extremes[0]), -int(extremes[1])
        if largest != smallest:
            raise UserError(
                f"the workers' masks differ after pruning {pruner.events} (checksums from "
                f"{smallest:08x} to {largest:08x}): their weights differ; resume from the last "
                "checkpoint, and report it if it happens again"
            )

    def _write_mask(self, first: bool = False) -> None:
        if distributed_utils.get_global_rank() != 0:
            return
        prune = self.cfg.prune
        mask = self.pruner.initial_mask if first else self.pruner.current_mask()
        info = {
            "method": prune.method,
            "sparsity": mask.sparsity,
            "updates": 0 if first else self._update + 1,
            "scope": {
                "include": list(prune.include),
                "exclude": list(prune.exclude),
                "biases": prune.biases,
            },
            "granularity": prune.granularity,
            "seed": prune.seed,
            "source": {
                "file": Path(self._run.model.w2v_path).name,
                "sha256": self.cfg.contents["model.w2v_path"],
            },
        }
        records.write_mask(Path(self._run.checkpoint.save_dir), mask, info, first)

    def _save_subnetwork(self, module: Any, state_dict: Any, prefix: str, local: Any) -> None:
        # What is saved is m⊙θ; the weights themselves stay as they are.
        for name in self.pruner.names:
            state_dict[prefix + name] = self.pruner.masked(name, state_dict[prefix + name])


class NamedRows(BaseWrapperDataset):
    """fairseq's dataset of a manifest, whose errors name the manifest's row."""

    def __init__(self, dataset: Any, tsv: Path) -> None:
        """Wrap fairseq's dataset of the manifest `tsv`."""
        super().__init__(dataset)
        self.tsv = tsv

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an utterance.

        Raises UserError: its audio cannot be read, or holds NaN or infinity.
        """
        try:
            item = self.dataset[index]
        except Exception as error:
            reason = f"cannot be read ({' '.join(str(error).split())})"
        else:
            if torch.isfinite(item["source"]).all():
                return item
            reason = "holds NaN or infinity"
        audio = self.dataset
        while not hasattr(audio, "skipped_indices") and hasattr(audio, "dataset"):
            audio = audio.dataset
        # fairseq leaves out rows that are too short.
        kept = (n for n in itertools.count() if n not in getattr(audio, "skipped_indices", ()))
        row = next(itertools.islice(kept, int(index), None))
        path = self.tsv.read_text(encoding="utf-8").splitlines()[row + 1].split("\t")[0]
        raise UserError(
            f"{self.tsv} row {row + 2}: {path} {reason}; fix the file or remove its row"
        )
