"""Runs on GLUE: each fine-tunes and scores once, unless a mask needs weights that it left out."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from parp_fairseq.errors import UserError
from parp_fairseq.files import locked, write_json
from parp_fairseq.glue.data import Example, GlueData, read_glue
from parp_fairseq.glue.features import Features, chosen, digest
from parp_fairseq.glue.folders import digest_of, load_classifier, load_tokenizer
from parp_fairseq.glue.metrics import score
from parp_fairseq.glue.prunable import check_model, count_zeros, prunable_shapes
from parp_fairseq.glue.settings import Settings
from parp_fairseq.glue.specs import IMP, Source, Spec
from parp_fairseq.glue.store import MASK, MODEL, RESULT, RUN, Store
from parp_fairseq.glue.surroundings import machine, quiet_transformers, versions
from parp_fairseq.glue.tasks import TASKS, Task
from parp_fairseq.runs.imp import round_sparsities

if TYPE_CHECKING:
    from parp_fairseq.pruning import Mask
    from parp_fairseq.runs.progress import Progress

_WEIGHTS = "model.safetensors"


class GlueRuns:
    """Makes runs in one folder, with one model, one GLUE folder and one set of settings."""

    def __init__(
        self,
        root: Path,
        model: Path,
        data: Path,
        settings: Settings,
        *,
        imp_of: str = "original",
        progress: Progress | None = None,
    ) -> None:
        """Read nothing yet but the model's content, for its digest.

        Args:
            root: the folder for runs; it holds this experiment or is new.
            model: a local folder of transformers.
            data: a GLUE folder.
            settings: of every run.
            imp_of: what the 10% of a round of IMP are a share of: "original" or "remaining".
            progress: where to tell how far a run is.

        Raises:
            UserError: the folder holds another experiment.
        """
        settings.check()
        self.store = Store(root)
        self.model = model
        self.settings = settings
        self.imp_of = imp_of
        self.progress = progress
        self._data_folder = data
        self._data: dict[str, GlueData] = {}
        self._digests: dict[str, str] = {}
        self._tokenizer: Any = None
        self.done = 0
        self._digest = digest_of(model)
        self.store.check(settings, self._digest)

    def check(self, specs: Sequence[Spec]) -> None:
        """Read and check, before any training, what runs need: data, tokenizer, model, masks.

        Raises:
            UserError: something is missing or does not fit.
        """
        for spec in specs:
            if spec.method != "dense":
                # A source's mask is made later; what it will be called does here.
                _callback(spec, spec.file or (spec.source and Path(MASK)))
            self._examples(spec.task)
            self.store.result(spec, self._about(spec))
            if spec.source:
                self._examples(TASKS[spec.source.task])
                if spec.source.kind == IMP:
                    round_sparsities(spec.sparsity, of=self.imp_of)
        check_model(self.model, specs, self.settings.max_length)

    def run(self, spec: Spec, keep_model: bool = True, to_prune: bool = False) -> dict[str, Any]:
        """Return what a run found; fine-tune first where that was not done before.

        Args:
            spec: the run.
            keep_model: leave the weights, in the folder `model`, where it fine-tunes.
            to_prune: the weights are needed; a finished run that left none fine-tunes again.

        Raises:
            UserError: data, model or mask cannot be used, or the folder is another experiment's.
        """
        found = self.store.result(spec, self._about(spec))
        folder = self.store.folder(spec)
        if found is not None and (not to_prune or (folder / MODEL / _WEIGHTS).is_file()):
            return found
        mask = spec.file
        if spec.source is not None:
            mask = self.mask(spec.source, spec.sparsity, spec.seed, spec)
        self.store.begin(self.settings, self._digest)
        with locked(folder, "another parp glue"), quiet_transformers():
            if not (folder / RUN).is_file():
                write_json(folder / RUN, self._about(spec))
            return self._train(spec, folder, mask, keep_model)

    def mask(self, source: Source, sparsity: float, seed: int, like: Spec) -> Path:
        """Return the file of a task's mask, made by the fine-tunings that it takes (or found).

        Args:
            source: the task and how its mask is found.
            sparsity: of the mask.
            seed: of the fine-tunings.
            like: a run whose scope and granularity count.

        Raises:
            UserError: a mask that is there was made with another scope or granularity.
        """
        file = self.store.mask(source, sparsity, seed)
        if file.is_file():
            self._check_mask(file, like)
            return file
        before: Source | None = None
        reached = 0.0
        if source.kind == IMP:
            rounds = [0.0, *round_sparsities(sparsity, of=self.imp_of)]
            reached = rounds[-2]
            before = source if reached else None
        spec = replace(
            like,
            task=TASKS[source.task],
            method="mask" if before else "dense",
            sparsity=reached,
            seed=seed,
            source=before,
            file=None,
        )
        self.run(spec, to_prune=True)
        folder = self.store.folder(spec)
        self._write_mask(spec, folder / MODEL, sparsity, source, file)
        if before:
            shutil.rmtree(folder / MODEL, ignore_errors=True)
        return file

    def magnitude_mask(self, spec: Spec) -> Mask:
        """The mask of the pre-trained weights' magnitudes (MPI), at a run's sparsity and scope."""
        from parp_fairseq.pruning import magnitude_mask

        with quiet_transformers():
            model = load_classifier(self.model, spec.task, spec.seed)
        parameters = dict(model.named_parameters())
        weights = {n: parameters[n].detach() for n in prunable_shapes(self.model, spec)}
        return magnitude_mask(weights, spec.sparsity, spec.options.granularity)

    def _write_mask(
        self, spec: Spec, model: Path, sparsity: float, source: Source, file: Path
    ) -> None:
        """Rank a fine-tuned model's weights; what was pruned before is zero and goes first."""
        from safetensors.torch import load_file

        from parp_fairseq.masks.files import save_mask
        from parp_fairseq.pruning import magnitude_mask

        tensors = load_file(str(model / _WEIGHTS))
        weights = {name: tensors[name].float() for name in prunable_shapes(self.model, spec)}
        granularity = spec.options.granularity
        info = {"method": source.kind, "task": source.task, "seed": spec.seed}
        info["granularity"] = granularity
        save_mask(magnitude_mask(weights, sparsity, granularity), file, info)

    def _check_mask(self, file: Path, like: Spec) -> None:
        from parp_fairseq.masks.files import load_mask

        mask, info = load_mask(file)
        made = info.get("granularity", "global")
        if made != like.options.granularity:
            raise UserError(
                f"{file} was made with --granularity {made}, and this run has "
                f"{like.options.granularity}; put it back or give another folder as --out"
            )
        if set(mask) != set(prunable_shapes(self.model, like)):
            raise UserError(
                f"{file} was made with another --include or --exclude; put them back or give "
                "another folder as --out"
            )

    def _train(
        self, spec: Spec, folder: Path, mask: Path | None, keep_model: bool
    ) -> dict[str, Any]:
        from parp_fairseq.glue.training import remove_checkpoints, train
        from parp_fairseq.masks.files import save_mask

        data, settings = self._examples(spec.task), self.settings
        self._tokenizer = self._tokenizer or load_tokenizer(self.model)
        examples = chosen(data.train, settings.limit_train)
        model = load_classifier(self.model, spec.task, spec.seed)
        pruning = None if spec.method == "dense" else _callback(spec, mask)
        trained = train(
            model,
            self._tokenizer,
            spec.task,
            self._features(examples, spec.task),
            settings,
            folder,
            seed=spec.seed,
            pruning=pruning,
            each=self._teller(spec),
        )
        scores = {
            split: [asdict(found) for found in self._score(trained, rows, spec.task)]
            for split, rows in (("dev", data.dev), ("mismatched", data.mismatched))
            if rows
        }
        model.save_pretrained(str(folder / MODEL))
        counted = count_zeros(folder / MODEL / _WEIGHTS, prunable_shapes(self.model, spec))
        result = {
            **self._about(spec),
            "scores": scores,
            "examples": {"train": len(examples), "dev": len(data.dev)},
            "updates": trained.updates,
            "seconds": round(trained.seconds, 1),
            "counted": counted,
            "versions": versions(),
            "machine": machine(),
        }
        if pruning is not None and pruning.mask is not None:
            result["mask_iou"] = pruning.pruner.mask_iou
            info = {"method": spec.label, "task": spec.task.name, "seed": spec.seed}
            save_mask(pruning.mask, folder / MASK, info)
        if keep_model:
            self._tokenizer.save_pretrained(str(folder / MODEL))
        else:
            shutil.rmtree(folder / MODEL)
        write_json(folder / RESULT, result)
        remove_checkpoints(folder)
        self._tell_end(spec, result)
        return result

    def _tell_end(self, spec: Spec, result: dict[str, Any]) -> None:
        """Say a run's score, and that nothing gets through a matrix that is nothing but zeros."""
        if self.progress is None:
            return
        name = f"{spec.task.title} {spec.name} seed {spec.seed}"
        main = result["scores"]["dev"][0]
        self.progress.say(
            f"{name}: {main['name']} {main['value']:.2f} after {result['seconds']:.0f} s"
        )
        for tensor in result["counted"]["emptied"]:
            self.progress.say(
                f"warning: {name}: all of {tensor} is pruned; one threshold suits no matrix of far "
                f"smaller weights: leave it alone with --exclude, or use --granularity tensor"
            )

    def _score(self, trained: Any, rows: Sequence[Example], task: Task) -> list[Any]:
        features = self._features(rows, task)
        return score(task, features.labels, trained.predict(features))

    def _features(self, rows: Sequence[Example], task: Task) -> Features:
        return Features(rows, self._tokenizer, task, self.settings.max_length)

    def _examples(self, task: Task) -> GlueData:
        if task.name not in self._data:
            data = read_glue(self._data_folder, task)
            self._data[task.name] = data
            rows = chosen(data.train, self.settings.limit_train)
            self._digests[task.name] = digest([*rows, *data.dev, *data.mismatched])
        return self._data[task.name]

    def _about(self, spec: Spec) -> dict[str, Any]:
        """What decides a run's outcome."""
        self._examples(spec.task)
        about: dict[str, Any] = {
            "task": spec.task.name,
            "method": spec.label,
            "sparsity": spec.sparsity,
            "seed": spec.seed,
            "source": None if spec.source is None else str(spec.source),
            "mask_file": None,
            "options": spec.used,
            "settings": asdict(self.settings),
            "model": self._digest,
            "data": self._digests[spec.task.name],
        }
        if spec.options.initial:
            about["initial"] = spec.options.initial
        if spec.file is not None:
            about["mask_file"] = hashlib.sha256(spec.file.read_bytes()).hexdigest()
        if spec.source is not None and spec.source.kind == IMP:
            about["imp_of"] = self.imp_of
        return about

    def _teller(self, spec: Spec) -> Callable[[int, int], None]:
        name = f"{spec.task.name} {spec.name}"

        def tell(update: int, updates: int) -> None:
            if self.progress is not None:
                self.progress.show(self.done + update / updates, {name: (update, updates)})

        return tell


def _callback(spec: Spec, mask: Path | None) -> Any:
    from parp_fairseq.hf.callback import PruningCallback

    chosen: dict[str, Any] = dict(spec.used)
    if spec.method == "mask":
        chosen["mask"] = str(mask)
    else:
        chosen["initial"] = str(mask) if mask is not None else spec.options.initial
    return PruningCallback(spec.method, spec.sparsity, seed=spec.seed, **chosen)
