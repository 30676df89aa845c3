"""No command writes over its input or over a file of another kind, and over none unasked."""

import json
import re
import shutil

import pytest
import torch
from small_model import random_state, save

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.config import shipped
from parp_fairseq.pruning import Mask
from parp_fairseq.pruning.scope import canonical_name

SCORES = '[\n {\n  "checkpoint": "c.pt",\n  "data": "d"\n }\n]\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A fine-tuned checkpoint, one that needs repair, and a mask of them."""
    folder = tmp_path_factory.mktemp("made")
    state = random_state()
    save(state, folder / "c.pt")
    cfg = {**state["cfg"], "task": {**state["cfg"]["task"], "_name": "audio_finetuning"}}
    save({**state, "cfg": cfg}, folder / "old.pt")
    weights = {n: t for n, t in state["model"].items() if ".layers." in n and "weight" in n}
    prunable = {n: t for n, t in weights.items() if t.ndim == 2}
    kept = Mask({canonical_name(n): t != 0 for n, t in prunable.items()})
    save_mask(kept, folder / "k.safetensors")
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of them to work in, with other files next to them."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name, text in {
        "notes.txt": "do not lose me\n",
        "list.json": '[{"mine": 1}]\n',
        "data/test.tsv": "/gone\n",
        "data/test.ltr": "",
        "data/dict.ltr.txt": "E 1\n",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "data.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    return tmp_path


# The command with OUT where the output goes, and its inputs.
COMMANDS = {
    "fairseq": ("export c.pt --format fairseq -o OUT", ["c.pt"]),
    "sparse": ("export c.pt --format sparse -o OUT", ["c.pt"]),
    "repair": ("repair old.pt -o OUT", ["old.pt"]),
    "make": ("mask make c.pt --sparsity 0.5 -o OUT", ["c.pt"]),
    "iou": ("mask iou c.pt k.safetensors --png OUT", ["c.pt", "k.safetensors"]),
    "json": (
        "eval c.pt --data data --split test --json OUT",
        ["c.pt", "data/test.tsv", "data/test.ltr", "data/dict.ltr.txt"],
    ),
}
OTHER = "already exists and is not"
EXISTS = "already exists"
OTHER_FILES = ("notes.txt", "list.json", "data.zip")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(parp, folder, command, message):
    """Run a command that must write nothing; check its one line."""
    before = contents(folder)
    code, said, error = parp(*command.split())
    assert (code, said) == (2, ""), (said, error)
    assert re.search(message, error) and error.count("\n") == 1, error
    assert contents(folder) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_an_input_is_never_an_output(folder, parp, name):
    command, inputs = COMMANDS[name]
    (folder / "link").symlink_to(inputs[0])
    for file in (*inputs, "link"):
        refused(parp, folder, command.replace("OUT", file) + " --force", "is also an input")


@pytest.mark.parametrize("name", COMMANDS)
def test_another_kind_of_file_is_never_replaced(folder, parp, name):
    command, _ = COMMANDS[name]
    files = [*OTHER_FILES, *(["k.safetensors"] if name == "sparse" else [])]
    for file in files:
        refused(parp, folder, command.replace("OUT", file) + " --force", f"{file} {OTHER}")
    refused(parp, folder, command.replace("OUT", "data") + " --force", "data is a folder")


@pytest.mark.parametrize("name", ["fairseq", "sparse", "repair", "make", "iou"])
def test_an_existing_output_needs_force(folder, parp, name):
    command = COMMANDS[name][0].replace("OUT", "new/out.file")
    code, _, error = parp(*command.split())
    assert code == 0, error
    first = (folder / "new" / "out.file").read_bytes()
    refused(parp, folder, command, f"out.file {EXISTS}.*--force")
    # A file of this kind that was cut, as a copy may be.
    (folder / "new" / "out.file").write_bytes(first[: len(first) // 2])
    code, _, error = parp(*command.split(), "--force")
    assert code == 0, error
    again = (folder / "new" / "out.file").read_bytes()
    assert (again[:100], len(again)) == (first[:100], len(first))


def test_existing_scores_need_force(folder, parp):
    (folder / "s.json").write_text(SCORES)
    command = COMMANDS["json"][0].replace("OUT", "s.json")
    refused(parp, folder, command, f"s.json {EXISTS}.*--force")
    command = "eval c.pt --data data --split test --transcripts heard"
    heard = folder / "heard" / "c.pt" / "test.tsv"
    heard.parent.mkdir(parents=True)
    heard.write_text("id\treference\thypothesis\n")
    refused(parp, folder, command, f"test.tsv {EXISTS}.*--force")
    heard.write_text("my own table\n")
    refused(parp, folder, command + " --force", f"test.tsv {OTHER}")


def test_a_folder_for_transformers(folder, parp):
    """Only what an export wrote, and nobody changed since, is replaced."""
    command = "export c.pt --format hf -o"
    assert parp(*command.split(), "new/hf")[0] == 0
    refused(parp, folder, f"{command} new/hf", f"hf {EXISTS}.*--force")
    before = contents(folder / "new" / "hf")
    (folder / "new" / "hf" / "NOTES.md").write_text("mine\n")
    assert parp(*command.split(), "new/hf", "--force")[0] == 0
    after = contents(folder / "new" / "hf")
    assert after.pop(folder / "new" / "hf" / "NOTES.md") == b"mine\n"
    assert after == before
    for name in ("old", "theirs", "unlisted"):
        shutil.copytree(folder / "new" / "hf", folder / name)
    (folder / "old" / "parp_export.json").unlink()
    with (folder / "theirs" / "model.safetensors").open("ab") as handle:
        handle.write(b"tuned")
    record = folder / "unlisted" / "parp_export.json"
    content = json.loads(record.read_text())
    del content["files"]["vocab.json"]
    record.write_text(json.dumps(content))
    for out, message in (
        ("data", "data .*is no export of parp"),
        ("old", "old .*is no export of parp"),
        ("theirs", "theirs: model.safetensors is not as the export"),
        ("unlisted", "unlisted: vocab.json is not as the export"),
    ):
        refused(parp, folder, f"{command} {out} --force", message)
    inside = "export new/hf/model.safetensors --format hf -o new/hf --force"
    refused(parp, folder, inside, "is also an input")
    (folder / "theirs" / "model.safetensors").unlink()
    (folder / "empty").mkdir()
    for out in ("theirs", "empty"):
        assert parp(*command.split(), out, "--force")[0] == 0


def test_a_config(folder, parp):
    (folder / "other.yaml").write_text("# @package _global_\ntask: {_name: audio_finetuning}\n")
    error = f"other.yaml {OTHER} a config of task parp"
    refused(parp, folder, "configs cp parp_1h other.yaml --force", error)
    own = shipped.path_of("parp_1h")
    refused(parp, folder, f"configs cp parp_1h {own} --force", "is also an input")
    assert parp("configs", "cp", "parp_1h", "copy.yaml")[0] == 0
    refused(parp, folder, "configs cp parp_1h copy.yaml", f"{EXISTS}.*--force")
    assert parp("configs", "cp", "parp_10h", "copy.yaml", "--force")[0] == 0
    own = shipped.path_of("parp_10h").read_text()
    assert (folder / "copy.yaml").read_text() == own.replace("runs/parp_10h", "runs/copy")
    refused(parp, folder, "configs cp parp_1h c:d.yaml", "copy c:d.yaml is also the folder of its")


def test_a_checkpoint_of_old_torch_counts_as_one(folder, parp):
    torch.save({"a": 1}, folder / "out.pt", _use_new_zipfile_serialization=False)
    command = COMMANDS["fairseq"][0].replace("OUT", "out.pt")
    refused(parp, folder, command, f"{EXISTS}.*--force")
