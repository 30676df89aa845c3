"""examples/glue/run_glue.py: GLUE's files, its metrics, and masks moved between two small tasks."""

import csv
import importlib.util
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers")

from parp_fairseq.checkpoints.mask_files import load_mask  # noqa: E402
from parp_fairseq.errors import UserError  # noqa: E402

FOLDER = Path(__file__).parents[2] / "examples" / "glue"
WORDS = ["good", "fine", "bad", "sour", "tea", "soup", "cake", "the", "is", "and"]
# 2 layers: query, key, value, output, intermediate, output; and the pooler.
PRUNABLE = 2 * (4 * 32 * 32 + 2 * 32 * 64) + 32 * 32


@pytest.fixture(scope="module")
def glue():
    spec = importlib.util.spec_from_file_location("run_glue", FOLDER / "run_glue.py")
    module = sys.modules["run_glue"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, *lines, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


RTE = "index\tsentence1\tsentence2\tlabel"
STSB = "sentence1\tsentence2\tscore"
MRPC = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"
QQP = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"


@pytest.mark.parametrize(
    ("task", "file", "lines", "expected"),
    [
        ("rte", "RTE/dev.tsv", [RTE, "0\ta\tb\tnot_entailment"], (("a", "b"), 1)),
        # CoLA's files have no header, MRPC's a mark at the beginning and quotes that are text.
        ("cola", "CoLA/dev.tsv", ["gj04\t1\t\tThey drank."], (("They drank.",), 1)),
        ("mrpc", "MRPC/dev.tsv", [MRPC, '0\t7\t8\tHe " .\tSo " .'], (('He " .', 'So " .'), 0)),
        ("sts-b", "STS-B/dev.tsv", [STSB, "a\tb\t3.25"], (("a", "b"), 3.25)),
        # A line end inside a sentence has cut the first of these rows.
        ("qqp", "QQP/dev.tsv", [QQP, "0\t1\t2\tHm", "so", "1\t3\t4\ta\tb\t1"], (("a", "b"), 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_of_every_form(glue, tmp_path, task, file, lines, expected, end):
    write(tmp_path / file, *lines, end=end)
    assert glue.read(tmp_path, glue.TASKS[task], "dev") == [expected]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, r"RTE/dev\.tsv is not readable \(.*No such file.*; check --data"),
        ([RTE, "0\ta\tb"], r"dev\.tsv row 2: no column 'label'"),
        ([RTE, "0\ta\tb\tmaybe"], "row 2: the label is 'maybe', expected entailment or not_ent"),
        ([RTE], r"dev\.tsv has no examples"),
        ([RTE + "\ud800"], r"dev\.tsv is not readable \(.*codec"),
    ],
)
def test_a_bad_file_is_named_with_its_row(glue, tmp_path, lines, message):
    if lines is not None:
        write(tmp_path / "RTE" / "dev.tsv")
        text = "".join(f"{line}\n" for line in lines)
        (tmp_path / "RTE" / "dev.tsv").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(UserError, match=message):
        glue.read(tmp_path, glue.TASKS["rte"], "dev")


def test_metrics(glue):
    labels, predicted = np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0, 0, 0])
    # By hand: 2 true and 1 false positive, 1 false and 4 true negatives.
    assert glue.score("accuracy", labels, predicted) == 75.0
    assert glue.score("f1", labels, predicted) == pytest.approx(100 * 4 / 6)
    assert glue.score("matthews", labels, predicted) == pytest.approx(100 * 7 / 15)
    rising = np.array([0.0, 1.0, 2.0, 3.0])
    assert glue.score("spearman", rising, rising**3) == pytest.approx(100)
    assert glue.score("pearson", rising, rising**3) == pytest.approx(100 * 44 / 2350**0.5)
    for name in ("f1", "matthews", "pearson", "spearman"):
        assert glue.score(name, labels, np.zeros(8)) == 0.0
    (accuracy, f1) = glue.scores(glue.TASKS["mrpc"], labels, predicted)
    for one in (accuracy, f1):
        assert 0 <= one["low"] < one["value"] < one["high"] <= 100


def sentence(rng, good):
    return f"the {rng.choice(WORDS[4:7])} is {rng.choice(WORDS[:2] if good else WORDS[2:4])}"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """CoLA (one sentence) and RTE (a pair) with a few words, and a small random BERT for them."""
    root, rng = tmp_path_factory.mktemp("glue"), random.Random(0)
    for split, count in (("train", 32), ("dev", 16)):
        labels = [row % 2 for row in range(count)]
        cola = [f"x\t{label}\t\t{sentence(rng, label)}" for label in labels]
        write(root / "data" / "CoLA" / f"{split}.tsv", *cola)
        names = ("not_entailment", "entailment")
        pairs = [f"0\t{sentence(rng, 1)}\t{sentence(rng, n)}\t{names[n]}" for n in labels]
        write(root / "data" / "RTE" / f"{split}.tsv", RTE, *pairs)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    write(root / "bert" / "vocab.txt", *vocabulary)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(vocabulary), num_attention_heads=2, **sizes)
    transformers.BertModel(config).save_pretrained(root / "bert")
    return root


def test_masks_move_between_tasks(glue, world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(glue, "DRAWS", 10)
    out = tmp_path / "out"
    line = f"--data {world}/data --model {world}/bert --out {out} --tasks cola rte --sparsity 0.2 "
    line += "--methods dense parp --batch 8 --epochs 1 --learning-rate 1e-3 --interval 2"
    glue.main(f"{line} --transfer imp --save-models".split())
    printed = capsys.readouterr().out
    results = [json.loads(row) for row in printed.splitlines() if row.startswith("{")]
    runs = {(r["task"], r["method"], r["source"], r["sparsity"]): r for r in results}
    assert len(results) == len(runs) == 14  # 2 dense, 2 parp, 2 imp in 2 rounds, 4 parp, 2 mask
    masks = {}
    for (task, method, source, sparsity), result in runs.items():
        assert result["zeros"] == round(sparsity * PRUNABLE) and result["entries"] == PRUNABLE
        assert result["updates"] == 4 and result["train"] == 32
        if method == "dense":
            continue
        folder = glue.Run(task, method, sparsity, 1, source).folder(out)
        mask, _ = load_mask(folder / "mask.safetensors")
        weights = load_file(folder / "model" / "model.safetensors")
        assert all(torch.equal(weights[name] != 0, kept) for name, kept in mask.items())
        masks[task, method, source, sparsity] = dict(mask.items())
    # IMP's rounds prune what the last one pruned, and more.
    one, two = masks["cola", "imp", "", 0.1], masks["cola", "imp", "", 0.2]
    assert not any((two[name] & ~one[name]).any() for name in one)
    # RTE trains under CoLA's mask: static with "mask", moving with PARP.
    moved = [masks["rte", method, "cola-imp", 0.2] for method in ("mask", "parp")]
    assert all(torch.equal(moved[0][name], two[name]) for name in two)
    assert runs["rte", "mask", "cola-imp", 0.2]["mask_iou"] == 1.0
    assert not all(torch.equal(moved[1][name], two[name]) for name in two)
    table = {tuple(row.split(" | ")[:3]) for row in printed.splitlines() if row.startswith("| ")}
    assert {("| mask", "0.2", "other tasks, imp"), ("| iou", "0.2", "cola")} <= table
    with (out / "results.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 14 + 4 and {row["value"] for row in rows if row["metric"] == "iou"} > {
        "1.0"
    }

    monkeypatch.setattr(glue, "train", None)  # nothing is trained twice
    glue.main(f"{line} --transfer imp".split())
    again = capsys.readouterr().out
    assert again.strip() == printed[printed.index("| method") :].strip()
    for options, message in (
        ("--epochs 2", "--epochs was 1, now 2; choose another --out"),
        ("--sparsity 1.5", "sparsity"),
        ("--data none", "No such file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            glue.main(f"{line} {options}".split())
        assert message in capsys.readouterr().err


def test_the_committed_results_make_the_table_of_the_page(glue):
    table = glue.table(FOLDER / "results.csv")
    assert "| omp | 0.7 |  | 1.22 | 71.08 | 54.87 | 45.48 |" in table
    assert table in (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
