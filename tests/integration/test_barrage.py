# ruff: noqa: E501
"""Bad inputs over all commands: one clear line, exit code 2, nothing overwritten or left behind.

Each case is what a hasty or hostile user types. The folder it is typed in is built once; after every
case it must hold the very same files.
"""

from __future__ import annotations

import copy
import hashlib
import io
import re
import shutil
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_model import random_state, save
from small_sparse import about, file_of

from parp_fairseq.checkpoints.shipped import TINY_MODEL
from parp_fairseq.export.fairseq import export_fairseq


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def tone(path: Path, seconds: float = 1.0, rate: int = 16_000, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.sin(np.arange(int(seconds * rate)) / 20)
    soundfile.write(path, samples, rate, **options)


def manifests(folder: Path, audio: Path) -> None:
    for split in ("train", "valid"):
        write(folder / f"{split}.tsv", f"{audio}\na.flac\t16000\nb.flac\t16000\n")
        write(folder / f"{split}.ltr", "E T |\nT E |\n")
        write(folder / f"{split}.wrd", "ET\nTE\n")
    symbols = ["|", *"ETAONIHSRDLU"]
    write(folder / "dict.ltr.txt", "".join(f"{s} {100 - n}\n" for n, s in enumerate(symbols)))


def changed(state: dict, **model: torch.Tensor) -> dict:
    return {**state, "model": {**state["model"], **model}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with good and bad files of every kind."""
    root = tmp_path_factory.mktemp("world")
    for name in ("a", "b"):
        tone(root / "audio" / f"{name}.flac")
    tone(root / "audio" / "slow.wav", rate=8_000)
    tone(root / "audio" / "short.wav", seconds=0.01)
    (root / "audio" / "cut.wav").write_bytes((root / "audio" / "slow.wav").read_bytes()[:6_000])
    (root / "audio" / "cut.flac").write_bytes((root / "audio" / "a.flac").read_bytes()[:5_000])
    nan = np.full(16_000, np.nan, np.float32)
    soundfile.write(root / "audio" / "nan.wav", nan, 16_000, subtype="FLOAT")
    soundfile.write(root / "audio" / "nan8.wav", nan, 8_000, subtype="FLOAT")
    write(root / "audio" / "text.wav", "no audio")
    write(root / "audio" / "empty.wav", "")
    manifests(root / "data", root / "audio")
    for name in ("a.flac", "slow.wav", "short.wav", "cut.wav", "cut.flac", "nan.wav", "text.wav"):
        rows = "".join(f"audio/{n}\tE T\t{s}\n" for n, s in ((name, "train"), ("b.flac", "valid")))
        write(root / f"table_{name}.tsv", f"path\ttext\tsplit\n{rows}")
    write(
        root / "table_nan8.tsv",
        "path\ttext\tsplit\naudio/nan8.wav\tE\ttrain\naudio/b.flac\tT\tvalid\n",
    )
    write(root / "table_gone.tsv", "path\ttext\naudio/gone.wav\tE T\naudio/a.flac\tE\n")
    write(root / "table_folder.tsv", "path\ttext\naudio\tE T\naudio/a.flac\tE\n")
    write(root / "table_columns.tsv", "file\twords\naudio/a.flac\tE T\n")
    write(root / "table_ragged.tsv", "path\ttext\naudio/a.flac\n")
    write(root / "table_empty.tsv", "")
    write(root / "table_header.tsv", "path\ttext\n")
    write(root / "table_twice.tsv", "path\ttext\naudio/a.flac\tE\naudio/a.flac\tT\n")
    write(root / "table_bar.tsv", "path\ttext\naudio/a.flac\tE | T\naudio/b.flac\tE\n")
    write(root / "table_notext.tsv", "path\ttext\naudio/a.flac\t\naudio/b.flac\tE\n")
    write(root / "table.jsonl", '{"path": "audio/a.flac", "text": \n')
    (root / "table_latin.tsv").write_bytes(b"path\ttext\naudio/a.flac\t\xe9\n")
    write(
        root / "c2" / "train.tsv",
        (root / "table_a.flac.tsv").read_text().replace("audio/", "../audio/"),
    )
    # The release of a corpus, whose own tables have the names of splits.
    header = "client_id\tpath\tsentence\tup_votes\tdown_votes\tlocale"
    for split in ("train", "dev", "test", "validated"):
        clip = f"common_voice_nl_{split}"
        write(
            root / "release" / "nl" / f"{split}.tsv",
            f"{header}\ns{split}\t{clip}.mp3\tHet regent {split}.\t2\t0\tnl\n",
        )
        tone(root / "release" / "nl" / "clips" / f"{clip}.mp3", 2.5, 48_000, format="MP3")
    write(root / "badrelease" / "nl" / "train.tsv", "a\tb\n1\t2\n")
    (root / "badrelease" / "nl" / "clips").mkdir()
    (root / "emptycorpus").mkdir()
    bad = {
        "nosplit": {"dict.ltr.txt": "E 1\n"},
        "nodict": {"train.tsv": f"{root}/audio\na.flac\t16000\n", "train.ltr": "E |\n"},
        "ragged": {
            "train.tsv": f"{root}/audio\na.flac\n",
            "train.ltr": "E |\n",
            "dict.ltr.txt": "| 2\nE 1\n",
        },
        "unparallel": {
            "train.tsv": f"{root}/audio\na.flac\t16000\n",
            "train.ltr": "E |\nE |\n",
            "dict.ltr.txt": "| 2\nE 1\n",
        },
        "twice": {
            "train.tsv": f"{root}/audio\na.flac\t16000\n",
            "train.ltr": "E |\n",
            "dict.ltr.txt": "E 2\nE 1\n",
        },
        "gone": {
            "train.tsv": f"{root}/audio\ngone.flac\t16000\n",
            "train.ltr": "E |\n",
            "dict.ltr.txt": "| 2\nE 1\n",
        },
        "length": {
            "train.tsv": f"{root}/audio\na.flac\t999\n",
            "train.ltr": "E |\n",
            "dict.ltr.txt": "| 2\nE 1\n",
        },
        "cutaudio": {
            "train.tsv": f"{root}/audio\ncut.flac\t16000\n",
            "train.ltr": "E |\n",
            "dict.ltr.txt": "| 2\nE 1\n",
        },
        "nanaudio": {
            "train.tsv": f"{root}/audio\nnan.wav\t16000\n",
            "train.ltr": "E |\n",
            "dict.ltr.txt": "| 2\nE 1\n",
        },
        "other": {"valid.tsv": f"{root}/audio\na.flac\t16000\n", "valid.ltr": "Z |\n"},
        "nowords": {"valid.tsv": f"{root}/audio\na.flac\t16000\n", "valid.ltr": "|\n"},
    }
    for folder, files in bad.items():
        for name, text in files.items():
            write(root / "bad" / folder / name, text)
    state = random_state()
    save(state, root / "good.pt")
    weight = "w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"
    save(changed(state, **{weight: state["model"][weight] * float("nan")}), root / "nan.pt")
    inf = state["model"][weight].clone()
    inf[0, 0] = float("inf")
    save(changed(state, **{weight: inf}), root / "inf.pt")
    (root / "cut.pt").write_bytes((root / "good.pt").read_bytes()[:-3000])
    write(root / "empty.pt", "")
    write(root / "text.pt", "hello")
    torch.save([1, 2], root / "list.pt")
    torch.save({"a": 1}, root / "dict.pt")
    headless = {**state, "model": {k: v for k, v in state["model"].items() if ".proj." not in k}}
    save(headless, root / "headless.pt")
    save(
        {**state, "task_state": {"parp_symbols": {"symbols": ["A"], "counts": [1]}}},
        root / "dictless.pt",
    )
    spaced = {"symbols": ["|", "a\u2003b", *"TAONIHSRDLU"], "counts": [1] * 13}
    save({**state, "task_state": {"parp_symbols": spaced}}, root / "spaced.pt")
    conformer = copy.deepcopy(state["cfg"])
    conformer["model"]["w2v_args"]["model"]["layer_type"] = "conformer"
    save({**state, "cfg": conformer}, root / "conformer.pt")
    shutil.copy(TINY_MODEL, root / "tiny.pt")
    from parp_fairseq.masks.files import save_mask
    from parp_fairseq.masks.making import make_mask

    mask, info = make_mask(root / "tiny.pt", 0.5)
    save_mask(mask, root / "mask.safetensors", info)
    mask, info = make_mask(root / "good.pt", 0.5)
    save_mask(mask, root / "othermask.safetensors", info)
    (root / "cutmask.safetensors").write_bytes((root / "mask.safetensors").read_bytes()[:500])
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(3)}, root / "plain.safetensors")
    # Sparse files that claim a terabyte, are cut off, and come from tomorrow.
    (root / "huge.safetensors").write_bytes(file_of(about(packed={"w": [10**6, 10**6]})))
    (root / "cutsparse.safetensors").write_bytes(file_of()[:200])
    (root / "v2.safetensors").write_bytes(file_of(about(version=2)))
    (root / "bits.safetensors").write_bytes(file_of(header=file_of()[8:-8]))
    write(root / "notes.json", '{"mine": 1}\n')
    write(root / "notes.txt", "mine\n")
    write(root / "notes.md", "mine\n")
    write(root / "mine.csv", "my,table\n")
    export_fairseq(root / "good.pt", root / "stock" / "model.pt")
    write(root / "exported" / "config.json", '{"mine": 1}\n')
    write(root / "hubert" / "config.json", '{"model_type": "hubert"}\n')
    shutil.copy(root / "plain.safetensors", root / "hubert" / "model.safetensors")
    write(root / "runs" / "x" / "checkpoints" / "run.json", "not json")
    write(root / "runs2" / "x" / "checkpoints" / "run.json", "{}")
    write(root / "impfolder" / "imp.json", '{"config_name": "other"}')
    write(root / "impfolder" / "masks" / "01_0.1.safetensors", "of its first round")
    write(root / "full" / "something", "x")
    return root


def snapshot(root: Path) -> dict[str, str]:
    """Path → content of everything below a folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(root.rglob("*"))
    }


EVAL = "eval good.pt --data data --split valid"
HEAR = "transcribe good.pt"
TABLE = "manifest table table_a.flac.tsv --out new"
MASK = "mask make tiny.pt -o new.safetensors --sparsity"
SPARSE = "export good.pt --format sparse -o new.safetensors"

# What is typed → a regular expression that the one line must match.
CASES = {
    # manifest table
    "manifest table gone.tsv --out new": r"gone\.tsv.*no such",
    "manifest table audio --out new": r"audio",
    "manifest table table_empty.tsv --out new": r"table_empty\.tsv",
    "manifest table table_header.tsv --out new": r"table_header\.tsv",
    "manifest table table_columns.tsv --out new": r"table_columns\.tsv.*(path|text)",
    "manifest table table_ragged.tsv --out new": r"row 2",
    "manifest table table_twice.tsv --out new": r"table_twice\.tsv.*row 3",
    "manifest table table_gone.tsv --out new": r"row 2.*gone\.wav",
    "manifest table table_folder.tsv --out new": r"row 2.*audio.*folder",
    "manifest table table_bar.tsv --out new": r"row 2.*\|",
    "manifest table table_notext.tsv --out new": r"row 2",
    "manifest table table_latin.tsv --out new": r"not UTF-8",
    "manifest table table.jsonl --out new": r"row 1",
    "manifest table table_slow.wav.tsv --out new": r"row 2.*16 kHz.*--convert",
    "manifest table table_short.wav.tsv --out new": r"row 2.*25 ms",
    "manifest table table_cut.wav.tsv --out new": r"row 2.*cut\.wav",
    "manifest table table_cut.wav.tsv --out new --convert": r"row 2.*cut\.wav",
    "manifest table table_text.wav.tsv --out new": r"row 2.*text\.wav",
    "manifest table table_nan8.tsv --out new --convert": r"row 2.*nan8\.wav",
    "manifest table c2/train.tsv --out c2": r"train\.tsv.*input",
    "manifest table table_a.flac.tsv --out c2": r"train\.tsv",
    "manifest table table_a.flac.tsv --out notes.txt": r"notes\.txt",
    "manifest table table_a.flac.tsv --out notes.txt/below": r"notes\.txt",
    f"{TABLE} --units words": r"words.*letters",
    f"{TABLE} --units spm": r"--vocab-size",
    f"{TABLE} --units spm --vocab-size 0": r"vocab-size",
    f"{TABLE} --units spm --vocab-size 5000": r"5000",
    f"{TABLE} --units phones --lang klingon": r"klingon",
    f"{TABLE} --vocab-size 10": r"vocab-size",
    f"{TABLE} --valid-share 0.5": r"valid-share",
    "manifest table table_bar.tsv --out new --valid-share 2": r"valid-share|row 2",
    f"{TABLE} --jobs 0": r"jobs",
    # manifest librispeech, librilight
    "manifest librispeech --librispeech gone --split dev-other --out new": r"gone",
    "manifest librispeech --librispeech emptycorpus --split dev-other --out new": r"emptycorpus",
    "manifest librispeech --librispeech audio --split dev-other=+ --out new": r"split|audio",
    "manifest librilight --librilight gone --librispeech gone --out new": r"gone",
    "manifest librilight --librilight emptycorpus --librispeech emptycorpus --out new": r"emptycorpus",
    "manifest librilight --librilight emptycorpus --librispeech emptycorpus --out new --set 2h": r"2h|emptycorpus",
    "manifest librilight --librilight emptycorpus --librispeech emptycorpus --out new --fold 9": r"9|emptycorpus",
    "manifest librilight --librilight emptycorpus --librispeech emptycorpus --out new --fold 0,x": r"--fold is 'x'",
    "manifest librilight --librilight emptycorpus --librispeech emptycorpus --out new --set ,": r"no sets given",
    # manifest commonvoice
    "manifest commonvoice --release gone --lang nl --out new": r"gone",
    "manifest commonvoice --release emptycorpus --lang nl --out new": r"emptycorpus",
    "manifest commonvoice --release release --lang fr --out new": r"fr",
    "manifest commonvoice --release badrelease --lang nl --out new": r"train\.tsv",
    "manifest commonvoice --release release --lang nl --out release/nl": r"release/nl",
    "manifest commonvoice --release release --lang nl --out new --hours -1": r"hours",
    "manifest commonvoice --release release --lang nl --out new --hours 1 --dev-hours 0": r"hours",
    "manifest commonvoice --release release --lang nl --out new --splits gone": r"gone",
    "manifest commonvoice --release release --lang nl --out new --voice klingon": r"klingon",
    # manifest joint
    "manifest joint data --out new": r"two|several|one",
    "manifest joint data gone --out new": r"gone",
    "manifest joint a=data a=data --out new": r"a",
    "manifest joint a=data b=bad/nosplit --out new": r"nosplit",
    "manifest joint a=data b=bad/nodict --out new": r"nodict",
    "manifest joint a=data b=data --out data": r"data",
    "manifest joint a=data b=data --out new --temperature 0": r"temperature",
    "manifest joint a=data b=data --out new --labels phn": r"phn",
    # manifest check
    "manifest check gone": r"gone",
    "manifest check bad/nosplit": r"nosplit|split",
    "manifest check notes.txt": r"notes\.txt",
    # mask make
    f"{MASK} 2": r"--sparsity is 2",
    f"{MASK} -0.5": r"--sparsity is -0\.5",
    f"{MASK} nan": r"--sparsity",
    f"{MASK} 0.5 --method magic": r"--method.*magic",
    f"{MASK} 0.5 --granularity layer": r"--granularity",
    f"{MASK} 0.5 --include encoder.blocks.*": r"encoder\.blocks",
    f"{MASK} 0.5 --exclude *": r"--exclude|nothing",
    "mask make gone.pt -o new.safetensors --sparsity 0.5": r"gone\.pt.*no such",
    "mask make cut.pt -o new.safetensors --sparsity 0.5": r"cut\.pt.*(truncated|damaged)",
    "mask make empty.pt -o new.safetensors --sparsity 0.5": r"empty\.pt is empty",
    "mask make text.pt -o new.safetensors --sparsity 0.5": r"text\.pt",
    "mask make list.pt -o new.safetensors --sparsity 0.5": r"list\.pt",
    "mask make dict.pt -o new.safetensors --sparsity 0.5": r"dict\.pt",
    "mask make nan.pt -o new.safetensors --sparsity 0.5": r"nan\.pt.*NaN",
    "mask make inf.pt -o new.safetensors --sparsity 0.5": r"inf\.pt.*infinit",
    "mask make audio -o new.safetensors --sparsity 0.5": r"audio is a folder",
    "mask make tiny.pt -o tiny.pt --sparsity 0.5": r"tiny\.pt is also an input",
    "mask make tiny.pt -o notes.json --sparsity 0.5": r"notes\.json is there",
    "mask make tiny.pt -o mask.safetensors --sparsity 0.5": r"mask\.safetensors is there already.*--force",
    "mask make tiny.pt -o good.pt --sparsity 0.5 --force": r"good\.pt is there and is not",
    "mask make tiny.pt -o plain.safetensors --sparsity 0.5 --force": r"plain\.safetensors is there and is not",
    "mask make tiny.pt -o audio --sparsity 0.5": r"audio is a folder",
    "mask make tiny.pt -o notes.txt/x --sparsity 0.5": r"notes\.txt is a file",
    "mask make tiny.pt -o /proc/x --sparsity 0.5": r"/proc/x",
    # mask info, iou
    "mask info gone.safetensors": r"gone\.safetensors",
    "mask info cutmask.safetensors": r"cutmask\.safetensors",
    "mask info plain.safetensors": r"plain\.safetensors.*not a mask",
    "mask info notes.json": r"notes\.json",
    "mask info text.pt": r"text\.pt",
    "mask info emptycorpus": r"emptycorpus",
    "mask iou mask.safetensors": r"two|one",
    "mask iou mask.safetensors othermask.safetensors": r"othermask\.safetensors",
    "mask iou mask.safetensors gone.safetensors": r"gone\.safetensors",
    "mask iou mask.safetensors tiny.pt --png mask.safetensors": r"mask\.safetensors is also an input",
    "mask iou mask.safetensors tiny.pt --png notes.txt": r"notes\.txt is there",
    # inspect
    "inspect gone.pt": r"gone\.pt",
    "inspect cut.pt": r"cut\.pt",
    "inspect text.pt": r"text\.pt",
    "inspect audio": r"audio is a folder",
    "inspect good.pt --png good.pt": r"good\.pt is also an input",
    "inspect good.pt --png notes.txt": r"notes\.txt is there",
    "inspect good.pt --against gone.pt": r"gone\.pt",
    "inspect good.pt --against mask.safetensors": r"mask\.safetensors",
    # export
    "export gone.pt --format sparse -o new.safetensors": r"gone\.pt",
    "export cut.pt --format sparse -o new.safetensors": r"cut\.pt",
    "export tiny.pt --format sparse -o new.safetensors": r"tiny\.pt.*pre-trained",
    "export headless.pt --format sparse -o new.safetensors": r"headless\.pt",
    "export dictless.pt --format sparse -o new.safetensors": r"dictless\.pt.*dictionary",
    "export nan.pt --format sparse -o new.safetensors": r"nan\.pt.*NaN",
    "export inf.pt --format fairseq -o new.pt": r"inf\.pt.*infinit",
    "export nan.pt --format hf -o new": r"nan\.pt.*NaN",
    "export good.pt --format sparse -o good.pt": r"good\.pt is also an input",
    "export good.pt --format fairseq -o good.pt": r"good\.pt is also an input",
    "export good.pt --format fairseq -o good.pt --force": r"good\.pt is also an input",
    "export good.pt --format fairseq -o tiny.pt": r"tiny\.pt is there already.*--force",
    "export good.pt --format fairseq -o notes.txt --force": r"notes\.txt is there and is not",
    "export good.pt --format sparse -o notes.json --force": r"notes\.json is there and is not",
    "export good.pt --format sparse -o mask.safetensors --force": r"mask\.safetensors is there and is not",
    "export good.pt --format sparse -o audio": r"audio is a folder",
    "export good.pt --format hf -o audio": r"audio",
    "export good.pt --format hf -o exported --force": r"exported",
    "export good.pt --format hf -o notes.txt": r"notes\.txt",
    "export good.pt --format fairseq --dtype fp16 -o new.pt": r"--dtype",
    "export good.pt --format gguf -o new": r"gguf",
    "export exported --format sparse -o new.safetensors": r"exported is a folder and lacks model\.safetensors",
    "export hubert --format sparse -o new.safetensors": r"hubert holds a .hubert. of transformers",
    "export audio --format onnx -o new": r"audio is a folder; give a checkpoint",
    "eval exported --data data --split valid": r"exported is a folder and lacks model\.safetensors",
    "inspect hubert": r"hubert holds a .hubert. of transformers",
    "export good.pt --format onnx -o audio": r"audio is there and is no export",
    "export good.pt --format onnx -o exported --force": r"exported is there and is no export",
    "export good.pt --format onnx -o notes.txt": r"notes\.txt",
    "export good.pt --format onnx --dtype fp16 -o new": r"--dtype",
    "export tiny.pt --format onnx -o new": r"tiny\.pt.*pre-trained",
    "export headless.pt --format onnx -o new": r"headless\.pt",
    "export nan.pt --format onnx -o new": r"nan\.pt.*NaN",
    "export spaced.pt --format onnx -o new": r"spaced\.pt: the symbol .* cannot stand in vocab\.txt",
    "export conformer.pt --format onnx -o new": r"conformer\.pt.*layer_type=conformer",
    "export mask.safetensors --format fairseq -o new.pt": r"mask\.safetensors",
    "export huge.safetensors --format fairseq -o new.pt": r"huge\.safetensors.*does not hold a mask",
    "export huge.safetensors --format sparse -o huge.safetensors --force": r"huge\.safetensors is also an input",
    "export cutsparse.safetensors --format hf -o new": r"cutsparse\.safetensors.*a header of .* copy it again",
    "export v2.safetensors --format fairseq -o new.pt": r"v2\.safetensors.*version 2.*update",
    "eval huge.safetensors --data data --split valid": r"huge\.safetensors.*does not hold a mask",
    "eval bits.safetensors --data data --split valid": r"bits\.safetensors.*not a readable",
    "inspect cutsparse.safetensors": r"cutsparse\.safetensors.*copy it again",
    "inspect v2.safetensors": r"v2\.safetensors.*version 2",
    "mask info huge.safetensors": r"huge\.safetensors",
    # repair
    "repair gone.pt -o new.pt": r"gone\.pt",
    "repair text.pt -o new.pt": r"text\.pt",
    "repair good.pt -o good.pt": r"good\.pt is also an input",
    "repair good.pt -o notes.txt": r"notes\.txt is there",
    # eval
    "eval gone.pt --data data --split valid": r"gone\.pt",
    "eval cut.pt --data data --split valid": r"cut\.pt.*(truncated|damaged)",
    "eval tiny.pt --data data --split valid": r"tiny\.pt.*pre-trained",
    "eval nan.pt --data data --split valid": r"nan\.pt.*NaN",
    "eval inf.pt --data data --split valid": r"inf\.pt.*infinit",
    "eval headless.pt --data data --split valid": r"headless\.pt",
    "eval mask.safetensors --data data --split valid": r"mask\.safetensors",
    "eval good.pt good.pt --data data --split valid": r"good\.pt.*twice",
    "eval good.pt --data gone --split valid": r"gone",
    "eval good.pt --data data --split test": r"test\.tsv",
    "eval good.pt --data data --split ,": r"split",
    "eval good.pt --data data --split valid --split valid": r"valid.*twice",
    "eval good.pt --data bad/other --split valid": r"valid\.ltr.*row 1.*Z",
    "eval good.pt --data bad/nowords --split valid": r"no row has a word",
    "eval good.pt --data bad/ragged --split train": r"train\.tsv row 2",
    "eval good.pt --data bad/unparallel --split train": r"train\.ltr",
    "eval good.pt --data bad/gone --split train": r"gone\.flac",
    "eval good.pt --data bad/cutaudio --split train": r"cut\.flac",
    "eval good.pt --data data --split valid --weights theta": r"good\.pt.*no pruning state",
    f"{EVAL} --weights dense": r"--weights dense.*subnetwork, theta",
    "eval good.pt --data bad/nanaudio --split train": r"nan\.wav",
    f"{EVAL} --labels phn": r"phn",
    f"{EVAL} --max-tokens 0": r"max.tokens",
    f"{EVAL} --max-tokens 100": r"16000|samples",
    f"{EVAL} --workers -1": r"workers",
    f"{EVAL} --batch-size 0": r"--batch-size is 0",
    f"{EVAL} --device gpuu": r"gpuu",
    f"{EVAL} --device cuda": r"cuda",
    f"{EVAL} --device cuda:99": r"cuda:99",
    f"{EVAL} --engine fast": r"fast",
    f"{EVAL} --json good.pt": r"good\.pt is also an input",
    f"{EVAL} --json notes.txt": r"notes\.txt is there",
    f"{EVAL} --json notes.json": r"notes\.json is there",
    f"{EVAL} --csv notes.txt --force": r"notes\.txt is there and is not",
    f"{EVAL} --json audio": r"audio is a folder",
    f"{EVAL} --json - --csv -": r"standard output",
    f"{EVAL} --transcripts notes.txt": r"notes\.txt",
    # transcribe
    f"{HEAR} gone.wav": r"gone\.wav: no such file",
    f"{HEAR} emptycorpus": r"emptycorpus holds no audio",
    f"{HEAR} audio": r"cut\.wav is cut off.*\(3 other files",
    f"{HEAR} audio/empty.wav": r"empty\.wav is empty",
    f"{HEAR} audio/text.wav": r"text\.wav is not readable as audio",
    f"{HEAR} good.pt": r"good\.pt is not readable as audio",
    f"{HEAR} audio/cut.wav": r"cut\.wav is cut off",
    f"{HEAR} audio/short.wav": r"short\.wav is shorter than 25 ms",
    f"{HEAR} audio/nan.wav": r"nan\.wav holds NaN",
    f"{HEAR} audio/cut.flac": r"cut\.flac is",
    f"{HEAR}": r"AUDIO",
    f"{HEAR} audio/a.flac --format doc": r"--format.*doc",
    f"{HEAR} audio/a.flac --engine fast": r"--engine.*fast",
    f"{HEAR} audio/a.flac --window 1": r"--window is 1 seconds",
    f"{HEAR} audio/a.flac --window nan": r"--window is nan",
    f"{HEAR} audio/a.flac --window long": r"--window",
    f"{HEAR} audio/a.flac -o audio/a.flac --force": r"also an input",
    f"{HEAR} audio/a.flac -o good.pt --force": r"also an input",
    f"{HEAR} audio/a.flac -o audio/b.flac --force": r"b\.flac is there and is not a text file",
    f"{HEAR} audio/a.flac -o notes.md --force": r"notes\.md is there and is not a text file that ends in",
    "transcribe stock/model.pt audio/a.flac -o stock/dict.ltr.txt --force": r"dict\.ltr\.txt is also an input",
    f"{HEAR} audio/a.flac -o notes.txt": r"notes\.txt is there already",
    f"{HEAR} audio/a.flac -o notes.json --force --format jsonl": r"notes\.json is there and is not",
    f"{HEAR} audio/a.flac -o notes.txt --force --format ctm": r"notes\.txt is there and is not a CTM",
    f"{HEAR} audio/a.flac -o notes.txt --force --format srt": r"notes\.txt is there and is not an SRT",
    f"{HEAR} audio/a.flac -o audio": r"audio is a folder",
    f"{HEAR} audio/a.flac -o notes.txt/x": r"notes\.txt is a file, not a folder",
    f"{HEAR} audio/a.flac audio/b.flac --format srt": r"holds one recording",
    f"{HEAR} audio/a.flac audio/b.flac --format srt -o notes.txt": r"notes\.txt is a file",
    "transcribe gone.pt audio/a.flac": r"gone\.pt",
    "transcribe tiny.pt audio/a.flac": r"pre-trained wav2vec2 without a CTC head",
    "transcribe headless.pt audio/a.flac": r"without a CTC head",
    "transcribe nan.pt audio/a.flac": r"layers\.0\.fc1\.weight",
    "transcribe cut.pt audio/a.flac": r"cut\.pt",
    "transcribe list.pt audio/a.flac": r"list",
    "transcribe dictless.pt audio/a.flac": r"its dictionary has 5 symbols",
    "transcribe mask.safetensors audio/a.flac": r"is a mask file",
    "transcribe plain.safetensors audio/a.flac": r"no sparse model",
    "transcribe cutsparse.safetensors audio/a.flac": r"cutsparse\.safetensors",
    "transcribe huge.safetensors audio/a.flac": r"huge\.safetensors",
    "transcribe emptycorpus audio/a.flac": r"emptycorpus lacks config\.json",
    "transcribe exported audio/a.flac": r"exported lacks model\.safetensors",
    "transcribe audio/a.flac audio/b.flac": r"audio/a\.flac",
    # report, configs, demo, imp
    "report gone": r"gone",
    "report emptycorpus": r"no run",
    "report runs": r"run\.json",
    "report runs2": r"run\.json",
    "report runs --format pdf": r"pdf",
    "configs show parp_10mni": r"did you mean parp_10min",
    "configs show parp_10min --gpus 0": r"--gpus",
    "configs show parp_10min --gpus 3": r"--gpus 3",
    "configs cp parp_10min notes.txt/x": r"notes\.txt",
    "configs cp nothing new.yaml": r"nothing",
    "demo --seeds 0 --out new": r"seeds",
    "demo --jobs 0 --out new": r"jobs",
    "demo --out full": r"full",
    "demo --out notes.txt": r"notes\.txt",
    "imp --sparsity 1.5 --out new": r"--sparsity",
    "imp --sparsity 0 --out new": r"--sparsity",
    "imp --step 0 --out new": r"--step",
    "imp --of whole --out new": r"--of",
    "imp --round-updates 0 --out new": r"--round-updates",
    "imp --rewind-update -1 --out new": r"--rewind-update",
    "imp --config-name parp_none --out new task.data=data": r"parp_none",
    "imp --out impfolder task.data=data model.w2v_path=tiny.pt": r"impfolder",
    "imp --out full task.data=data model.w2v_path=tiny.pt": r"full",
    "imp --out new task.prune.method=dense": r"task\.prune\.method",
    "imp --out new nonsense": r"nonsense",
    # no command of ours
    "traim": r"traim",
    "export": r"CHECKPOINT|checkpoint|Missing",
    "mask make tiny.pt --sparsity 0.5": r"--out|-o",
    "eval good.pt --split valid": r"--data",
    "mask make tiny.pt -o new --sparsity half": r"--sparsity",
    "eval good.pt --data data --split valid --nonsense": r"--nonsense",
}


def typed(line: str, folder: Path, monkeypatch) -> tuple[int, str, str]:
    """Run `parp` in this process; exit code, standard output and standard error."""
    from parp_fairseq.cli import main

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["parp", *line.split()])
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("line", CASES)
def test_bad_input(line, world, monkeypatch):
    before = snapshot(world)
    code, out, err = typed(line, world, monkeypatch)
    lines = [text for text in err.splitlines() if text.strip()]
    assert code == 2, (code, out[-300:], err[-600:])
    assert len(lines) == 1, err
    assert lines[0].startswith("parp: error: "), err
    assert re.search(CASES[line], lines[0]), lines[0]
    assert snapshot(world) == before


def test_there_are_enough():
    assert len(CASES) >= 150
