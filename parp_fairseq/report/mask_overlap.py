"""How alike masks are: IOU over any set of them, over one run's time, and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from parp_fairseq.checkpoints.formats import CHECKPOINT, SPARSE_MODEL, read_weights
from parp_fairseq.checkpoints.hf_folder import is_hf_folder
from parp_fairseq.checkpoints.mask_files import load_mask, nonzero_mask, stored_mask
from parp_fairseq.checkpoints.prunable_weights import scoped_weights
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.pruning import Mask, Scope, iou
from parp_fairseq.pruning.mask import difference
from parp_fairseq.pruning.scope import canonical_name, place_of
from parp_fairseq.report.layer_grid import Grid, zeros_in
from parp_fairseq.report.rendering import TextTable
from parp_fairseq.report.style import HeatMap, check_drawing, heat_maps, save
from parp_fairseq.runs.names import CHECKPOINTS, INITIAL_MASK_FILE
from parp_fairseq.runs.record import sparsity_report

# Shown only where it takes seconds, on a terminal.
_BAR = {"leave": False, "delay": 2.0, "disable": None}


@dataclass(frozen=True)
class NamedMask:
    """A mask, its file, and a short name that distinguishes it."""

    label: str
    path: Path
    mask: Mask
    info: Mapping[str, Any]

    def render(self) -> str:
        """Lines on how it was made, and a table of the sparsity of each matrix, in percent."""
        mask = self.mask
        share = zeros_in(sparsity_report(mask)["tensors"])
        grid = Grid.over(mask)
        lines = [
            f"{self.path}: {mask.numel - mask.kept:,} of {mask.numel:,} entries pruned in "
            f"{len(mask)} tensors, sparsity {mask.sparsity:.6f}",
        ]
        info = {k: value for k, value in self.info.items() if k != "sparsity"}
        lines += [f"{key}: {_shown(value)}" for key, value in info.items() if value is not None]
        if grid.layers:
            lines += ["", "pruned, %", grid.render(lambda names: f"{100 * share(names):.2f}")]
        return "\n".join([*lines, *(f"{name}: {100 * share([name]):.2f}%" for name in grid.others)])

    def to_json(self) -> dict[str, Any]:
        """The file's info and `sparsity_report` of its mask."""
        found = sparsity_report(self.mask)
        return {"file": str(self.path), "info": dict(self.info), **found}


@dataclass(frozen=True)
class Overlaps:
    """IOU of every two masks of a set (paper, equation 1 and figure 2)."""

    masks: tuple[NamedMask, ...]  # in the order given
    matrix: list[list[float]]  # IOU in [0, 1], row and column in that order
    # number of a layer → the same matrix over that layer only
    layers: Mapping[int, list[list[float]]]

    def render(self, per_layer: bool = False) -> str:
        """A table; `per_layer` adds one of each mask's IOU with the first, by layer."""
        numbers = [str(number + 1) for number in range(len(self.masks))]
        rows = [
            (number, named.label, f"{named.mask.sparsity:.4f}", *map(_digits, line))
            for number, named, line in zip(numbers, self.masks, self.matrix)
        ]
        text = TextTable("", ["", "mask", "sparsity", *numbers], rows, 2).text()
        if not per_layer:
            return text
        rows = [(str(layer), *map(_digits, matrix[0][1:])) for layer, matrix in self.layers.items()]
        below = TextTable("", ["layer", *numbers[1:]], rows).text()
        return f"{text}\n\nIOU with mask 1, by layer\n{below}"

    def to_json(self, per_layer: bool = False) -> dict[str, Any]:
        """The same as plain values, unrounded; `per_layer` adds a matrix a layer."""
        content: dict[str, Any] = {
            "masks": [
                {"label": one.label, "file": str(one.path), "entries": one.mask.numel}
                | {"sparsity": one.mask.sparsity}
                for one in self.masks
            ],
            "iou": self.matrix,
        }
        if per_layer:
            content["layers"] = {str(n): matrix for n, matrix in self.layers.items()}
        return content

    def draw(self, file: PathLike) -> None:
        """Draw the matrix as a heat map (PNG).

        Raises:
            UserError: matplotlib is not installed, or the file cannot be written.
        """
        check_drawing()
        labels = [named.label for named in self.masks]
        matrix = HeatMap("IOU of kept weights", self.matrix, labels, labels)
        save(heat_maps([matrix], lambda value: _digits(value, 4)), file)


def compare(masks: Sequence[NamedMask]) -> Overlaps:
    """Return the IOU of every two masks.

    Raises:
        UserError: fewer than two masks, or two of different tensors (named).
    """
    if len(masks) < 2:
        raise UserError("IOU compares two masks or more; give another mask, checkpoint or run")
    for other in masks[1:]:
        mismatch = difference(masks[0].mask.shapes, other.mask.shapes)
        if mismatch:
            raise UserError(
                f"{other.path} {mismatch}, unlike {masks[0].path}; compare masks of the same "
                "model and scope"
            )
    layers: dict[int, list[str]] = {}
    for name in masks[0].mask:
        place = place_of(name)
        if place is not None:
            layers.setdefault(place.layer, []).append(name)
    size = len(masks)
    whole = [[1.0] * size for _ in range(size)]
    parts = {layer: [[1.0] * size for _ in range(size)] for layer in sorted(layers)}
    pairs = [(row, column) for row in range(size) for column in range(row)]
    with tqdm(pairs, desc="comparing", unit="pair", **_BAR) as bar:
        for row, column in bar:
            one, other = masks[row].mask, masks[column].mask
            whole[row][column] = whole[column][row] = iou(one, other)
            for layer, names in layers.items():
                parts[layer][row][column] = parts[layer][column][row] = iou(one, other, names)
    return Overlaps(tuple(masks), whole, parts)


def read_masks(
    sources: Sequence[PathLike], scope: Mapping[str, tuple[int, ...]] | None = None
) -> list[NamedMask]:
    """Read masks from mask files, checkpoints, exports and folders of runs.

    A checkpoint's mask is the one that its pruning state holds; without one, as in an export, what
    is not zero. A run's folder gives its initial mask and those of its checkpoints, in the order of
    updates.

    Args:
        sources: files and folders.
        scope: name → shape of the tensors in which zeros are looked for (default: those of the
            first mask that is stored in another source, or else the paper's scope).

    Raises:
        UserError: a source is missing, unreadable or holds no mask.
    """
    paths, labels = [], []
    for source, short in zip(map(Path, sources), short_names(sources)):
        if source.is_dir() and not is_hf_folder(source):
            for label, file in _masks_of_run(source):
                paths.append(file)
                labels.append(label if len(sources) == 1 else f"{short} {label}")
        else:
            paths.append(source)
            labels.append(short)
    # Stored masks first: they tell in which tensors the others' zeros are looked for.
    with tqdm(paths, desc="reading", unit="mask", **_BAR) as bar:
        read = [_stored(path) for path in bar]
    stored = (mask.shapes for mask, _ in read if mask is not None)
    scope = scope if scope is not None else next(stored, None)
    return [
        NamedMask(label, path, _zeros_of(path, scope) if mask is None else mask, info)
        for label, path, (mask, info) in zip(labels, paths, read)
    ]


def short_names(paths: Sequence[PathLike]) -> list[str]:
    """Names that distinguish files: what their paths do not share, or the bare name.

    >>> short_names(["runs/es/mask.safetensors", "runs/fr/mask.safetensors"])
    ['es', 'fr']
    """
    files = [Path(path).absolute() for path in paths]
    stems = [_stem(file) for file in files]
    if len(set(stems)) == len(stems):
        return stems
    parts = [[*file.parts[:-1], stem] for file, stem in zip(files, stems)]
    while all(len(part) > 1 for part in parts) and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    while all(len(part) > 1 for part in parts) and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    return ["/".join(part) for part in parts]


def _stem(file: Path) -> str:
    return file.name if file.is_dir() else file.stem


def _stored(path: Path) -> tuple[Mask | None, dict[str, Any]]:
    """The mask that a file keeps, and how it was made; None where its zeros tell the mask."""
    if not path.exists():
        raise UserError(f"{path}: no such mask, checkpoint or run folder; check the path")
    if path.is_dir() or SPARSE_MODEL.matches(path):
        return None, {}
    if CHECKPOINT.matches(path):
        return stored_mask(load_checkpoint(path)), {}
    return load_mask(path)


def _zeros_of(path: Path, scope: Mapping[str, tuple[int, ...]] | None) -> Mask:
    weights = read_weights(path)
    if scope is None:
        return nonzero_mask(scoped_weights({"model": weights}, Scope(), path))
    tensors = {canonical_name(name): tensor for name, tensor in weights.items()}
    return nonzero_mask({name: tensors[name] for name in scope if name in tensors})


def _masks_of_run(folder: Path) -> list[tuple[str, Path]]:
    """Initial mask and checkpoints of a run, each with what to call it, in the order of updates."""
    inside = folder / CHECKPOINTS if (folder / CHECKPOINTS).is_dir() else folder
    by_update: dict[int, Path] = {}
    for file in sorted(inside.glob("*.pt")):
        history = load_checkpoint(file).get("optimizer_history") or [{}]
        # "best" and "last" are copies of what was saved at the same update.
        by_update.setdefault(int(history[-1].get("num_updates", 0)), file)
    masks = [(f"update {update}", by_update[update]) for update in sorted(by_update)]
    initial = inside / INITIAL_MASK_FILE
    if initial.is_file():
        masks.insert(0, ("first", initial))
    if not masks:
        raise UserError(
            f"{folder} holds no masks: a run's folder has {CHECKPOINTS}/{INITIAL_MASK_FILE} and "
            "checkpoints/*.pt"
        )
    return masks


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _digits(value: float, places: int = 6) -> str:
    # A one only where the masks are the same.
    return f"{value if value == 1 else min(value, 1 - 10**-places):.{places}f}"
