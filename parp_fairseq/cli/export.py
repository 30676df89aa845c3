"""`parp export` and `parp repair`: checkpoints in other formats."""

# No `from __future__ import annotations`: typer reads the annotations themselves.
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from parp_fairseq.cli.options import Force, Sparsity


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A fine-tuned checkpoint, a run's folder, a sparse file, or a folder of a "
            "Wav2Vec2ForCTC."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write; for hf and onnx a folder.")
    ],
    form: Annotated[
        Literal["fairseq", "sparse", "hf", "onnx"],
        typer.Option(
            "--format",
            help="fairseq: a checkpoint of stock fairseq; sparse: one small safetensors file; "
            "hf: a folder for transformers; onnx: one for onnxruntime and onnx-asr.",
        ),
    ],
    values: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(
            "--values",
            "--dtype",
            help="Values of a sparse file: as they are, rounded to fp16, or matrices to int8.",
        ),
    ] = "fp32",
    sparsity: Sparsity = None,
    force: Force = False,
) -> None:
    """Write a subnetwork for stock fairseq, transformers or ONNX runtimes, or as a small file.

    Example: parp export checkpoints/checkpoint_best.pt --format sparse -o model.safetensors
    """
    from parp_fairseq.checkpoints.formats import named_checkpoint
    from parp_fairseq.errors import UserError

    if values != "fp32" and form != "sparse":
        raise UserError(f"--values (--dtype) goes with --format sparse, not {form}; leave it out")
    checkpoint = named_checkpoint(checkpoint)
    summary: dict[str, Any]
    if form == "fairseq":
        from parp_fairseq.export.fairseq import export_fairseq

        summary = export_fairseq(checkpoint, out, force=force, sparsity=sparsity)
    elif form == "sparse":
        from parp_fairseq.export.sparse_export import export_sparse

        summary = export_sparse(checkpoint, out, values=values, force=force, sparsity=sparsity)
    elif form == "onnx":
        from parp_fairseq.export.onnx import export_onnx

        summary = export_onnx(checkpoint, out, force=force, sparsity=sparsity)
    else:
        from parp_fairseq.export.hf import export_hf

        summary = export_hf(checkpoint, out, force=force, sparsity=sparsity)
    print("\n".join(f"{key}: {_shown(value)}" for key, value in summary.items()))


def repair(
    checkpoint: Annotated[Path, typer.Argument(help="A pre-trained or fine-tuned checkpoint.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    force: Force = False,
) -> None:
    """Rewrite a checkpoint of another version of fairseq so that the installed one takes it.

    Example: parp repair xlsr_53_56k.pt -o xlsr_53_repaired.pt
    """
    from parp_fairseq.checkpoints.formats import named_checkpoint
    from parp_fairseq.checkpoints.repair import repair as repair_checkpoint

    changes = repair_checkpoint(named_checkpoint(checkpoint), out, force=force)
    if changes:
        print("\n".join([*changes, f"written: {out}"]))
    else:
        print(f"{checkpoint} needs no repair; nothing was written")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.1e}"
    return f"{value:,}" if isinstance(value, int) else str(value)
