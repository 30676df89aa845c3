"""A folder for ONNX runtimes, in the layout that the package onnx-asr opens.

`model.onnx` takes waveforms as recorded and gives log probabilities, `vocab.txt` says what the rows
of its head are, and `config.json` that this is a `wav2vec2-ctc`. Pruned weights are zeros there,
stored and multiplied like any other value: neither the file nor its run gains by them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.hf_folder import CONFIG_FILE
from parp_fairseq.errors import UserError
from parp_fairseq.export.export_folder import check_folder, summary, writing_folder
from parp_fairseq.files import PathLike

MODEL_FILE, VOCABULARY_FILE = "model.onnx", "vocab.txt"
FILES = (CONFIG_FILE, MODEL_FILE, VOCABULARY_FILE)
FORM, MODEL_TYPE = "onnx", "wav2vec2-ctc"

CLOSE = 1e-4
"""How much log probabilities may differ from torch's."""

_PACKAGES = ("onnx", "onnxruntime")
_BLANK, _SPACE = "<blk>", "\u2581"
# One file of ONNX is one protobuf message, which holds no more.
_LARGEST = 2**31 - 2**24


def export_onnx(
    checkpoint: PathLike, out: PathLike, *, force: bool = False, sparsity: float | None = None
) -> dict[str, Any]:
    """Write a fine-tuned model as a folder of ONNX, and run it once to see that it is the same.

    It is pruned to `sparsity` first, if given; `check_folder` says what `force` replaces. Returns
    {"format", "out", "files", "bytes", "difference"}: the last is the largest difference of log
    probabilities between onnxruntime and torch on noise. UserError where a package is missing; it
    cannot be exported (another kind of network, a symbol that vocab.txt cannot hold, weights of 2
    GB or more); the graph does not compute what torch does; or the folder cannot be written.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format onnx needs {' and '.join(missing)}; in the clone of parp-fairseq: "
            "pip install '.[onnx]'"
        )
    out = check_folder(out, FILES, FORM, inputs=[checkpoint], force=force)
    source = open_finetuned(checkpoint, sparsity=sparsity)

    from parp_fairseq.checkpoints.dictionary import Symbols
    from parp_fairseq.export.onnx_graph import Graph, difference, write_graph
    from parp_fairseq.inference.network import Wav2Vec2Ctc

    symbols = Symbols.of_dictionary(source.symbols, source.joining)
    vocabulary = list(_vocabulary(symbols, source.path))
    model = source.settings()["model"]
    network = Wav2Vec2Ctc.from_finetuned(model, source.weights, source.path)
    size = sum(weight.numel() * weight.element_size() for weight in network.state_dict().values())
    if size > _LARGEST:
        raise UserError(
            f"{source.path}: its weights take {size:,} bytes, and one file of ONNX holds 2 GB; use "
            "another format"
        )
    graph = Graph(network, bool(source.info.normalize), symbols.blank)
    config = {
        "model_type": MODEL_TYPE,
        "subsampling_factor": network.architecture.stride,
        "sample_rate": 16_000,
        "labels": source.labels,
    }
    texts = {VOCABULARY_FILE: "".join(vocabulary), CONFIG_FILE: config}
    with writing_folder(out, MODEL_FILE, texts, FORM) as stage:
        write_graph(graph, stage / MODEL_FILE)
        gap = difference(graph, stage / MODEL_FILE)
        if not gap <= CLOSE:
            raise UserError(
                f"{source.path}: onnxruntime computes something else than torch (log "
                f"probabilities differ by {gap:.1e}); try other versions of torch and onnxruntime"
            )
    return {**summary(out, FORM, FILES), "difference": gap}


def _vocabulary(symbols: Any, path: Path) -> Iterator[str]:
    """Lines "TOKEN NUMBER"; onnx-asr writes tokens one after the other, and U+2581 as a space."""
    from parp_fairseq.checkpoints.dictionary import LETTER, NONE

    for row, name in enumerate(symbols.names):
        token = name
        if row == symbols.blank:
            token = _BLANK
        elif row in symbols.silent:
            token = ""
        elif symbols.joining == LETTER:
            token = name.replace(" ", "").replace("|", _SPACE)
        elif symbols.joining == NONE:
            token = _SPACE + name
        if any(letter.isspace() for letter in token) or (token == _BLANK and row != symbols.blank):
            raise UserError(
                f"{path}: the symbol {name!r} cannot be in {VOCABULARY_FILE}; use another format"
            )
        yield f"{token} {row}\n"
