"""`parp mask`: masks made, described and compared."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import json
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from parp_fairseq.cli.options import AsJson, Force, listed

_SOURCES = (
    "Mask files, checkpoints, exports (fairseq, sparse or hf), or folders of runs (their masks "
    "over time)."
)

app = typer.Typer(no_args_is_help=True, help="Make, describe and compare pruning masks.")


@app.command("make")
def mask_make(
    checkpoint: Annotated[
        Path, typer.Argument(help="A fairseq checkpoint, pre-trained or fine-tuned; or tiny.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The mask file to write.")],
    sparsity: Annotated[float, typer.Option(help="Share of entries to prune, 0 to 1.")],
    method: Annotated[
        Literal["magnitude", "random", "random_init"],
        typer.Option(help="random_init: by a fresh network's magnitudes."),
    ] = "magnitude",
    granularity: Annotated[
        Literal["global", "tensor"], typer.Option(help="One threshold, or one a tensor.")
    ] = "global",
    include: Annotated[
        list[str], typer.Option(help="Preset or pattern of modules (repeatable, or with commas).")
    ] = ["wav2vec2"],  # noqa: B006
    exclude: Annotated[
        list[str], typer.Option(help="Pattern of modules to leave out (repeatable).")
    ] = [],  # noqa: B006
    biases: Annotated[bool, typer.Option("--biases", help="Prune biases too.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of random and random_init.")] = 2337,
    force: Force = False,
) -> None:
    """Make the initial mask that a run with the same options begins with.

    Example: parp mask make wav2vec_small.pt --sparsity 0.5 -o mpi_0.5.safetensors
    """
    from parp_fairseq.checkpoints.formats import MASK_FILE, named_checkpoint
    from parp_fairseq.checkpoints.initial_masks import make_mask
    from parp_fairseq.files import check_output
    from parp_fairseq.pruning.spec import PruningSpec

    spec = PruningSpec(
        sparsity=sparsity,
        initial=method,
        granularity=granularity,
        include=listed(include),
        exclude=listed(exclude),
        biases=biases,
        seed=seed,
    )
    checkpoint = named_checkpoint(checkpoint)
    check_output(out, MASK_FILE, inputs=[checkpoint], force=force)
    mask, info = make_mask(checkpoint, spec)

    from parp_fairseq.checkpoints.mask_files import save_mask

    save_mask(mask, out, info)
    print(f"{out}: {mask.numel - mask.kept:,} of {mask.numel:,} entries pruned")


@app.command("info")
def mask_info(
    sources: Annotated[list[Path], typer.Argument(help=_SOURCES)],
    as_json: AsJson = False,
) -> None:
    """Show how masks were made, and their sparsity by layer and kind of matrix.

    Example: parp mask info runs/parp_10min/parp_0.5_seed2337/checkpoints/mask.safetensors
    """
    sources = _present(sources)

    from parp_fairseq.report.mask_overlap import read_masks

    reports = read_masks(sources)
    if as_json:
        print(json.dumps([report.to_json() for report in reports], indent=1))
    else:
        print("\n\n".join(report.render() for report in reports))


@app.command("iou")
def mask_iou(
    sources: Annotated[
        list[Path],
        typer.Argument(help=_SOURCES),
    ],
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show layers too.")] = False,
    png: Annotated[Optional[Path], typer.Option(help="Draw a heat map into this file.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compare every two masks by IOU: what both keep over what either keeps.

    Example: parp mask iou es.safetensors fr.safetensors mpi.safetensors --png iou.png
    """
    sources = _present(sources)
    if png is not None:
        from parp_fairseq.files import PNG, check_output

        check_output(png, PNG, inputs=sources, force=force, option="--png")

    from parp_fairseq.report.mask_overlap import compare, read_masks
    from parp_fairseq.report.style import check_drawing

    if png is not None:
        check_drawing()
    overlaps = compare(read_masks(sources))
    if png is not None:
        overlaps.draw(png)
    form = overlaps.to_json(per_layer) if as_json else None
    print(json.dumps(form, indent=1) if as_json else overlaps.render(per_layer))
    if png is not None and not as_json:
        print(f"written: {png}")


def _present(sources: list[Path]) -> list[Path]:
    """The files and folders named, checked before anything heavy is imported."""
    from parp_fairseq.checkpoints.formats import named_checkpoint
    from parp_fairseq.errors import UserError

    # Of a run's folder, its masks are meant.
    paths = [source if source.is_dir() else named_checkpoint(source) for source in sources]
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such mask, checkpoint or run folder; check the path")
    return paths
