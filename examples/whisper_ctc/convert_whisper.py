"""Whisper's encoder as a fairseq checkpoint, to fine-tune with CTC: `model.w2v_path=whisper.pt`.

    python examples/whisper_ctc/convert_whisper.py WHISPER whisper.pt

WHISPER is a folder that transformers saved (config.json and model.safetensors, such as a download
of openai/whisper-tiny), or one of CTranslate2 (config.json and model.bin).
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from parp_fairseq.errors import UserError, reported
from parp_fairseq.files import replacing

_DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
_FAIRSEQ = (
    ("encoder.conv1.", "feature_extractor.conv1."),
    ("encoder.conv2.", "feature_extractor.conv2."),
    ("encoder.embed_positions.weight", "positions"),
)


def transformers_weights(folder: Path) -> dict[str, Tensor]:
    """The encoder's weights in a folder of transformers, under its names (`encoder.…`)."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    short = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    return {n: t.float() for n, t in short.items() if n.startswith("encoder.")}


def ctranslate2_weights(file: Path) -> dict[str, Tensor]:
    """The encoder's weights in CTranslate2's `model.bin`, under the names of transformers.

    The file holds a version, the specification's name, its revision, the number of variables, and
    for each: name, rank, dimensions, type, number of bytes, bytes. Query, key and value are one
    matrix.
    """
    with file.open("rb") as stream:
        found = dict(_variables(stream))
    weights: dict[str, Tensor] = {}
    for part in ("conv1", "conv2"):
        weights |= {f"encoder.{part}.{k}": found[f"encoder/{part}/{k}"] for k in ("weight", "bias")}
    weights["encoder.embed_positions.weight"] = found["encoder/position_encodings/encodings"]
    norms = {"encoder/layer_norm": "encoder.layer_norm"}
    linears = {}
    layers = {name.split("/")[1] for name in found if name.startswith("encoder/layer_")}
    for number in range(len(layers - {"layer_norm"})):
        theirs, ours = f"encoder/layer_{number}", f"encoder.layers.{number}"
        norms[f"{theirs}/self_attention/layer_norm"] = f"{ours}.self_attn_layer_norm"
        norms[f"{theirs}/ffn/layer_norm"] = f"{ours}.final_layer_norm"
        linears[f"{theirs}/self_attention/linear_1"] = f"{ours}.self_attn.out_proj"
        linears[f"{theirs}/ffn/linear_0"] = f"{ours}.fc1"
        linears[f"{theirs}/ffn/linear_1"] = f"{ours}.fc2"
        for kind in ("weight", "bias"):
            parts = found[f"{theirs}/self_attention/linear_0/{kind}"].chunk(3)
            for name, part in zip(("q_proj", "k_proj", "v_proj"), parts):
                weights[f"{ours}.self_attn.{name}.{kind}"] = part
        # The file has zeros there; Whisper's keys have no bias.
        if weights.pop(f"{ours}.self_attn.k_proj.bias").any():
            raise UserError(f"{file}: {theirs}: its keys have a bias, so it is not Whisper's")
    for theirs, ours in norms.items():
        weights[f"{ours}.weight"] = found[f"{theirs}/gamma"]
        weights[f"{ours}.bias"] = found[f"{theirs}/beta"]
    for theirs, ours in linears.items():
        weights |= {f"{ours}.{kind}": found[f"{theirs}/{kind}"] for kind in ("weight", "bias")}
    return {name: tensor.clone() for name, tensor in weights.items()}


def _variables(stream: BinaryIO) -> Iterator[tuple[str, Tensor]]:
    def number(code: str) -> int:
        return struct.unpack(f"<{code}", stream.read(struct.calcsize(f"<{code}")))[0]

    def text() -> str:
        return stream.read(number("H")).rstrip(b"\0").decode()

    number("I"), text(), number("I")
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype = _DTYPES[number("B")]
        data = stream.read(number("I"))
        yield name, torch.from_numpy(np.frombuffer(data, dtype).reshape(shape).astype(np.float32))


def fairseq_state(weights: dict[str, Tensor], heads: int) -> dict[str, object]:
    """A pre-trained checkpoint for fairseq, of the model `parp_whisper`.

    Args:
        weights: the encoder's, under the names of transformers.
        heads: of attention; the shapes tell everything else.
    """
    from transformers.audio_utils import mel_filter_bank

    width, bins, _ = weights["encoder.conv1.weight"].shape
    model = {}
    for name, tensor in weights.items():
        for theirs, ours in _FAIRSEQ:
            name = name.replace(theirs, ours)
        model[name] = tensor
    filters = mel_filter_bank(201, bins, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    model["mel_filters"] = torch.from_numpy(filters.T.copy()).float()
    config = {
        "_name": "parp_whisper",
        "mel_bins": bins,
        "positions": len(model["positions"]),
        "encoder_embed_dim": width,
        "encoder_layers": len({n.split(".")[2] for n in model if n.startswith("encoder.layers.")}),
        "encoder_ffn_embed_dim": len(model["encoder.layers.0.fc1.weight"]),
        "encoder_attention_heads": heads,
        "normalize": False,
    }
    task = {"_name": "audio_pretraining", "data": "", "normalize": False}
    return {
        "args": None,
        "cfg": {"model": config, "task": task, "common": {}},
        "model": model,
        # fairseq takes a file without these for one of 2018.
        "optimizer_history": [
            {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
        ],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "task_state": {},
        "last_optimizer_state": None,
    }


def read_whisper(folder: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The encoder's weights in a folder, and the checkpoint for fairseq.

    Raises:
        UserError: the folder has no model, or one that is damaged or not Whisper's.
    """
    files = [folder / name for name in ("model.safetensors", "model.bin")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise UserError(f"{folder} has neither model.safetensors nor model.bin; name Whisper's")
    try:
        if file.name == "model.bin":
            weights = ctranslate2_weights(file)
            # Heads of Whisper are 64 wide in every size.
            heads = len(weights["encoder.layer_norm.weight"]) // 64
        else:
            weights = transformers_weights(folder)
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            heads = config["encoder_attention_heads"]
        return weights, fairseq_state(weights, heads)
    except (SafetensorError, struct.error, OSError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: not a Whisper that can be read ({reason})") from error


def main() -> None:
    """Convert."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("whisper", type=Path, help="folder of transformers or of CTranslate2")
    parser.add_argument("out", type=Path, help="the checkpoint to write, such as whisper.pt")
    given = parser.parse_args()
    if given.out.exists():
        raise UserError(f"{given.out} already exists; choose another name or remove it")
    weights, state = read_whisper(given.whisper)
    with replacing(given.out) as partial:
        torch.save(state, partial)
    entries = sum(t.numel() for n, t in weights.items() if ".weight" in n and t.dim() == 2)
    print(f"{given.out}: {len(weights)} tensors, {entries:,} entries in matrices")


if __name__ == "__main__":
    with reported():
        main()
    sys.exit(0)
