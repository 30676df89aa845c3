"""Bad input to every command: one clear line, exit code 2, nothing overwritten or left behind.

The folder in which they are typed is built once; after every case it must hold the very same files.
What training refuses is in test_bad_input.py, existing outputs in tests/unit/cli/test_outputs.py.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from small_model import random_state, save
from small_sparse import about, file_of

from parp_fairseq.checkpoints.formats import TINY_MODEL
from parp_fairseq.checkpoints.initial_masks import make_mask
from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.pruning import PruningSpec

FC1 = "w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_audio(folder: Path) -> None:
    tone = 0.1 * np.sin(np.arange(48_000) / 20)
    folder.mkdir()
    for name in ("a.flac", "b.flac"):
        soundfile.write(folder / name, tone[:16_000], 16_000)
    soundfile.write(folder / "slow.wav", tone[:8_000], 8_000)
    soundfile.write(folder / "short.wav", tone[:160], 16_000)
    for name, rate in (("nan.wav", 16_000), ("nan8.wav", 8_000)):
        soundfile.write(folder / name, np.full(16_000, np.nan), rate, subtype="FLOAT")
    write(folder / "cut.wav", (folder / "slow.wav").read_bytes()[:6_000])
    write(folder / "cut.flac", (folder / "a.flac").read_bytes()[:5_000])
    write(folder / "text.wav", "no audio")
    write(folder / "empty.wav", "")


def write_tables(root: Path) -> None:
    """Tables for `manifest table`, a release of Common Voice, folders of manifests."""
    rows = {
        name: f"path\ttext\tsplit\naudio/{name}\tE T\ttrain\naudio/b.flac\tE T\tvalid\n"
        for name in (
            "a.flac",
            "slow.wav",
            "short.wav",
            "cut.wav",
            "text.wav",
            "nan8.wav",
            "gone.wav",
        )
    }
    tables = {
        **rows,
        "folder": "path\ttext\naudio\tE T\naudio/a.flac\tE\n",
        "columns": "file\twords\naudio/a.flac\tE T\n",
        "ragged": "path\ttext\naudio/a.flac\n",
        "empty": "",
        "header": "path\ttext\n",
        "twice": "path\ttext\naudio/a.flac\tE\naudio/a.flac\tT\n",
        "bar": "path\ttext\naudio/a.flac\tE | T\naudio/b.flac\tE\n",
        "notext": "path\ttext\naudio/a.flac\t\naudio/b.flac\tE\n",
        "latin": b"path\ttext\naudio/a.flac\t\xe9\n",
    }
    for name, text in tables.items():
        write(root / f"{name}.tsv", text)
    write(root / "half.jsonl", '{"path": "audio/a.flac", "text": \n')
    write(root / "own" / "train.tsv", rows["a.flac"].replace("audio/", "../audio/"))
    header = "client_id\tpath\tsentence\tup_votes\tdown_votes\tlocale"
    for split in ("train", "dev", "test", "validated"):
        clip = f"s{split}\tclip_{split}.mp3\tHet regent {split}.\t2\t0\tnl"
        write(root / "release" / "nl" / f"{split}.tsv", f"{header}\n{clip}\n")
        clip = root / "release" / "nl" / "clips" / f"clip_{split}.mp3"
        clip.parent.mkdir(exist_ok=True)
        soundfile.write(clip, np.zeros(120_000), 48_000, format="MP3")
    write(root / "badrelease" / "nl" / "train.tsv", "a\tb\n1\t2\n")
    (root / "badrelease" / "nl" / "clips").mkdir()
    symbols = "".join(f"{s} {100 - n}\n" for n, s in enumerate(["|", *"ETAONIHSRDLU"]))
    for name, row, label in (
        ("data", "a.flac\t16000", "E T |"),
        ("bad/ragged", "a.flac", "E T |"),
        ("bad/unparallel", "a.flac\t16000", "E |\nE |"),
        ("bad/gone", "gone.flac\t16000", "E T |"),
        ("bad/cut", "cut.flac\t16000", "E T |"),
        ("bad/nan", "nan.wav\t16000", "E T |"),
        ("bad/symbol", "a.flac\t16000", "Z |"),
        ("bad/blank", "a.flac\t16000", ""),
        ("bad/nowords", "a.flac\t16000", "|"),
        ("bad/none", "", ""),
    ):
        for split in ("train", "valid"):
            write(root / name / f"{split}.tsv", f"{root}/audio\n{row}\n" if row else f"{root}\n")
            write(root / name / f"{split}.ltr", f"{label}\n" if row else "")
        write(root / name / "dict.ltr.txt", symbols)
    write(root / "bad" / "nosplit" / "dict.ltr.txt", symbols)
    shutil.copytree(root / "data", root / "bad" / "nodict")
    (root / "bad" / "nodict" / "dict.ltr.txt").unlink()


def write_models(root: Path) -> None:
    state = random_state()
    model = state["model"]
    one_inf = model[FC1].clone()
    one_inf[0, 0] = float("inf")
    conformer = copy.deepcopy(state["cfg"])
    conformer["model"]["w2v_args"]["model"]["layer_type"] = "conformer"
    spaced = {"symbols": ["|", "a\u2003b", *"TAONIHSRDLU"], "counts": [1] * 13}
    other = {"cfg": {"model": {"_name": "transformer"}, "task": {}}, "model": {}}
    for name, content in {
        "good.pt": state,
        "nan.pt": {**state, "model": {**model, FC1: model[FC1] * float("nan")}},
        "inf.pt": {**state, "model": {**model, FC1: one_inf}},
        "headless.pt": {**state, "model": {k: v for k, v in model.items() if ".proj." not in k}},
        "dictless.pt": {**state, "task_state": {"parp_symbols": {"symbols": ["A"], "counts": [1]}}},
        "spaced.pt": {**state, "task_state": {"parp_symbols": spaced}},
        "conformer.pt": {**state, "cfg": conformer},
        "translation.pt": other,
    }.items():
        save(content, root / name)
    torch.save([1, 2], root / "list.pt")
    torch.save({"a": 1}, root / "dict.pt")
    write(root / "cut.pt", (root / "good.pt").read_bytes()[:-3000])
    write(root / "empty.pt", "")
    write(root / "text.pt", "hello")
    shutil.copy(TINY_MODEL, root / "tiny.pt")
    for name, source in (("mask", "tiny.pt"), ("othermask", "good.pt")):
        mask, info = make_mask(root / source, PruningSpec())
        save_mask(mask, root / f"{name}.safetensors", info)
    write(root / "cutmask.safetensors", (root / "mask.safetensors").read_bytes()[:500])
    save_file({"x": torch.zeros(3)}, root / "plain.safetensors")
    # Sparse files that claim a terabyte, are cut off, and come from tomorrow.
    write(
        root / "huge.safetensors",
        file_of(about(packed={"w": {"shape": [10**6, 10**6], "low": [7, 0]}})),
    )
    write(root / "cutsparse.safetensors", file_of()[:200])
    write(root / "v3.safetensors", file_of(about(version=3)))
    write(root / "bits.safetensors", file_of(header=file_of()[8:-8]))
    export_fairseq(root / "good.pt", root / "stock" / "model.pt")
    write(root / "exported" / "config.json", '{"mine": 1}\n')
    write(root / "hubert" / "config.json", '{"model_type": "hubert"}\n')
    shutil.copy(root / "plain.safetensors", root / "hubert" / "model.safetensors")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with good and bad files of every kind."""
    root = tmp_path_factory.mktemp("world")
    write_audio(root / "audio")
    write_tables(root)
    write_models(root)
    (root / "emptycorpus").mkdir()
    write(root / "notes.json", '{"mine": 1}\n')
    write(root / "notes.txt", "mine\n")
    write(root / "notes.md", "mine\n")
    write(root / "runs" / "x" / "checkpoints" / "run.json", "not json")
    write(root / "runs2" / "x" / "checkpoints" / "run.json", "{}")
    write(root / "impfolder" / "imp.json", '{"config_name": "other"}')
    write(root / "full" / "something", "x")
    return root


# Lines at the margin are commands. An indented one holds what is put into {}, | between them, and
# a pattern that the error must match (~: it need not repeat the input). Those of CHEAP end before
# torch is imported.
CHEAP = r"""
mask make {} --sparsity 0.5 -o new
export {} --format sparse -o new
export {} --format fairseq -o new
export {} --format hf -o new
export {} --format onnx -o new
repair {} -o new
inspect {}
eval {} --data data --split valid
    none.pt                     :: no such checkpoint
mask make tiny -o new --sparsity {}
    2                           :: --sparsity is 2.0; .*fraction between 0 and 1
    -0.5 | nan                  :: fraction between 0 and 1
    half                        :: ~ --sparsity.*valid number
    0.5 --method random --seed 18446744073709551616 :: from -2\^63 to 2\^64 - 1
    0.5 --method magic          :: 'magic' is not one of 'magnitude', 'random'
    0.5 --granularity layer     :: 'layer' is not one of 'global', 'tensor'
mask make {}
    tiny --sparsity 0.5         :: ~ Missing option '--out'
mask make tiny --sparsity 0.5 -o {}
    notes.txt                   :: {other} a mask file
mask info {}
mask iou {} tiny
    none                        :: no such mask, checkpoint or run folder
mask iou tiny {}
    tiny --png notes.txt        :: {other} a PNG
export good.pt -o new --format {}
    hf --dtype fp16 | onnx --dtype fp16 :: --values.*sparse
    gguf                        :: 'fairseq', 'sparse', 'hf', 'onnx'
export good.pt --format {} -o notes.txt
    hf | onnx                   :: ~ notes.txt is a file, not a folder
eval good.pt {}
    --split valid               :: ~ Missing option '--data'
    --split valid --data none   :: no such folder; give the folder that holds valid.tsv
    --data data --split test    :: no such manifest; the splits in data are: train, valid
    --data data --split ,       :: ~ no split
    --data data --split valid,train,valid | good.pt --data data --split valid :: (twice|duplicate)
eval good.pt --data data --split valid {}
    --device gpuu | --device cuda:x :: use cpu, cuda, or cuda:N
    --max-tokens 0 | --batch-size 0 :: (range x>=|equal to )1
    --workers -1                :: (range x>=|equal to )0
    --json notes.txt            :: {other} a file of scores
    --weights dense             :: 'subnetwork', 'theta'
    --transcripts notes.txt     :: is a file, not a folder
    --lm none --lexicon none --beam 0 :: {from1}
    --lm none | --lexicon none  :: need each other
    --lm none --lexicon none --lm-weight nan :: give finite numbers
    --nonsense                  :: No such option
configs {}
    show parp_10mni             :: did you mean parp_10min
    show parp_10min --gpus 3    :: does not divide by 3; use 1, 2, 4, 8
    show parp_10min --gpus 0    :: {from1}
    cp nothing new.yaml         :: no config.*parp_10h, parp_10min
    cp parp_10min notes.txt/x   :: is a file, not a folder
{}
    traim                       :: No such command
"""
FULL = r"""
mask make {} --sparsity 0.5 -o new
export {} --format sparse -o new
repair {} -o new
inspect {}
eval {} --data data --split valid
transcribe {} audio/a.flac
    cut.pt                      :: truncated or damaged
    empty.pt                    :: is empty
    text.pt                     :: not a checkpoint that torch wrote
    list.pt                     :: holds a list
    dict.pt                     :: not a fairseq checkpoint: it has no 'model'
mask make {} --sparsity 0.5 -o new
inspect {}
eval {} --data data --split valid
    audio                       :: audio is a folder
export {} --format sparse -o new
export {} --format fairseq -o new
export {} --format hf -o new
export {} --format onnx -o new
eval {} --data data --split valid
transcribe {} audio/a.flac
    tiny.pt                     :: pre-trained wav2vec2 without a CTC head; fine-tune
    headless.pt                 :: without a CTC head
    nan.pt                      :: layers\.0\.fc1\.weight holds NaN
    inf.pt                      :: layers\.0\.fc1\.weight holds infinite values
    dictless.pt                 :: dictionary has 5 symbols .*head has 17
    translation.pt              :: a model of another kind \(transformer\)
    plain.safetensors           :: but no sparse model
    huge.safetensors            :: '?w:0:high.* does not hold a mask of \[1000000, 1000000\]
    cutsparse.safetensors       :: a header of \d+ bytes where \d+ are left
    bits.safetensors            :: not a readable sparse model
    v3.safetensors              :: format version 3.* up to 2; update parp-fairseq
    hubert                      :: 'hubert'.*Wav2Vec2ForCTC|lacks vocab\.json
    exported                    :: lacks model\.safetensors
mask make {} -o new --sparsity 0.5
    nan.pt | inf.pt             :: fc1\.weight holds NaN or infinity
    tiny --include encoder.blocks.* :: matches no weight.*names such as encoder\.layers
    tiny --exclude *            :: --exclude leaves nothing
mask make tiny --sparsity 0.5 -o {}
    /proc/x                     :: cannot be written
mask info {}
    text.pt | cutmask.safetensors :: not a readable mask file
    plain.safetensors           :: but not a mask
    emptycorpus                 :: holds no masks
mask iou mask.safetensors {}
    othermask.safetensors       :: no mask for encoder\.layers.*same model and scope
    --json                      :: ~ two masks or more
export {} -o new
    conformer.pt --format hf | conformer.pt --format onnx :: layer_type=conformer
    spaced.pt --format onnx     :: the symbol .* vocab\.txt
transcribe {} audio/a.flac
    mask.safetensors            :: is a mask file, which holds no weights
    emptycorpus                 :: lacks config\.json
eval good.pt --data data --split valid {}
    --labels phn                :: valid\.phn: no such label file
    --weights theta             :: ~ good\.pt keeps no pruning state
    --max-tokens 100            :: valid\.tsv row 2: a\.flac has 16000 samples
    --device cuda:99            :: no GPU
    --lm none --lexicon notes.txt :: notes\.txt row 1: 'mine' has no symbols
eval good.pt --split valid --data {}
    bad/symbol                  :: valid\.ltr row 1: the symbol 'Z' is not in the dictionary
    bad/nowords                 :: ~ valid\.ltr: no row has a word
    bad/blank                   :: valid\.ltr row 1 is empty
    bad/none                    :: valid\.tsv lists no audio
    bad/ragged                  :: valid\.tsv row 2: expected
    bad/unparallel              :: valid\.ltr has 2 lines but .*valid\.tsv lists 1 audio
    bad/gone                    :: valid\.tsv row 2: .*gone\.flac: no such file
    bad/cut                     :: ~ valid\.tsv row 2: .*cut\.flac is damaged or cut off
    bad/nan                     :: valid\.tsv row 2: .*nan\.wav holds NaN
transcribe good.pt {}
    none.wav                    :: no such file or folder
    emptycorpus                 :: holds no audio file
    audio/empty.wav             :: is empty
    audio/text.wav              :: is not readable as audio
    audio/cut.wav               :: is cut off
    audio/cut.flac              :: is damaged
    audio/short.wav             :: is shorter than 25 ms
    audio/nan.wav               :: holds NaN
    audio/a.flac --format doc   :: 'text', 'jsonl', 'srt'
    audio/a.flac --engine fast  :: 'auto', 'dense', 'sparse'
    audio/a.flac --engine dense --precision bf16 :: --precision is for --engine auto or sparse
    audio/a.flac --budget soon  :: give a time for a second of speech
    audio/a.flac --budget 5ms --sparsity 0.9 :: leave it or --sparsity out
    audio/a.flac --budget 5ms   :: this model has one
    audio/a.flac --window nan   :: expected 6 or more|at least 6
    audio/a.flac audio/b.flac --format srt :: ~ one recording
transcribe stock/model.pt audio/a.flac -o {}
    audio/a.flac --force --format text | stock/model.pt --force --format text :: is also an input
    stock/dict.ltr.txt --force  :: is also an input
    audio/b.flac | notes.md | notes.json :: no format ends in
    notes.md --force --format text :: {other} a text file that ends in \.txt
    notes.txt                   :: {exists}.*--force
    notes.json --force --format jsonl :: {other} JSON lines
    notes.txt --force --format srt :: {other} an SRT
    audio                       :: is a folder
    notes.txt/x                 :: is a file, not a folder
manifest table {} --out new
    none.tsv                    :: no such table
    audio                       :: \.tsv, \.csv, \.jsonl
    empty.tsv | header.tsv      :: has no rows; expected the columns path and text
    columns.tsv                 :: row 1: no column 'path' among file, words
    ragged.tsv                  :: row 2 has 1 columns, expected 2
    twice.tsv                   :: row 3: .*a\.flac.* row 2
    gone.wav.tsv                :: row 2: .*gone\.wav: no such file
    folder.tsv                  :: row 2: .*audio: is a directory; check its name
    bar.tsv                     :: row 2: .*'\|'
    notext.tsv                  :: row 2 has no text
    latin.tsv                   :: row 2 is not UTF-8
    half.jsonl                  :: row 1 cannot be read as JSON
    slow.wav.tsv                :: row 2: .*8000 samples a second, expected 16000.*--convert
    short.wav.tsv               :: row 2: .*shorter than 25 ms
    cut.wav.tsv | cut.wav.tsv --convert :: row 2: .*cut\.wav is cut off
    text.wav.tsv                :: row 2: .*text\.wav is not readable as audio
    nan8.wav.tsv --convert      :: row 2: .*nan8\.wav holds NaN
manifest table own/train.tsv --out {}
    own                         :: train\.tsv.* is also an input
manifest table a.flac.tsv --out {}
    own                         :: own/train\.tsv .*no builder.* recorded
    notes.txt/below             :: cannot be written|is a file, not a folder
manifest table a.flac.tsv --out new {}
    --units words               :: 'words' is not one of 'letters', 'phones'
    --units phones --lang klingon :: espeak-ng.*, en-us
    --valid-share 0.5           :: has a column split
    --jobs 0                    :: {from1}
manifest librispeech --out new --librispeech {}
    none --split dev-other      :: no such folder; expected LibriSpeech/<part>
    emptycorpus --split dev-other :: dev-other: no such folder
    audio --split dev-other=+   :: NAME=PART\+PART
manifest librilight --out new --librispeech emptycorpus --librilight {}
    none                        :: no such folder; expected librispeech_finetuning
    emptycorpus                 :: dev-other: no such folder
    emptycorpus --set 2h        :: choose from 10min, 1h, 10h
    emptycorpus --set ,         :: ~ choose from 10min, 1h, 10h
manifest commonvoice {} --out new
    --release none --lang nl        :: no such folder; expected cv-corpus
    --release emptycorpus --lang nl :: holds no nl/clips
    --release release --lang fr     :: holds no fr/clips
    --release badrelease --lang nl  :: nl/train\.tsv row 1: no column 'client_id'
manifest commonvoice --release release --lang nl --out {}
    release/nl                  :: is also an input
    new --hours -1 | new --hours 0 :: a number above 0|more than 0|above 0
    new --voice klingon         :: espeak-ng.*, en-us
manifest joint {} --out new
    data                        :: ~ two languages or more
    data none                   :: no such folder; give a language's folder
    a=data a=data               :: two folders.* called a|duplicate
    a=data b=bad/nosplit        :: train\.tsv: no such manifest
    a=data b=bad/nodict         :: bad/nodict has none
    a=data b=data --labels phn  :: train\.phn: no such label file
manifest joint a=data b=data --out {}
    data                        :: is also an input
manifest check {}
    none                        :: no such folder; give one that holds manifests
    bad/nosplit                 :: holds no \.tsv
report {}
    none                        :: no such folder; give one that holds runs
    emptycorpus                 :: no run in emptycorpus: .*checkpoints/run\.json
    runs                        :: run\.json is damaged \(not JSON\)
    runs2                       :: run\.json is not a record of a run
demo --out {}
    new --seeds 0 | new --jobs 0 :: greater than or equal to 1
    full                        :: something (else|that the demo did not make)
    notes.txt                   :: is a file; give a folder
imp task.data=data model.w2v_path=tiny.pt --out {}
    new --sparsity 1.5          :: fraction between 0 and 1
    new --sparsity 0            :: above 0 and below 1
    new --step 0                :: 0\.001 to 1
    new --of whole              :: 'whole' is not one of 'original', 'remaining'
    new --round-updates 0       :: {from1}
    new --rewind-update -1      :: must be at least 0
    new --config-name parp_none :: did you mean parp_demo
    new task.prune.method=dense :: sets task\.prune\.method itself
    new nonsense                :: is no override; write key=value
    impfolder                   :: imp\.json is not a record of IMP
    full                        :: holds something else
"""
WORDS = {
    "{from1}": r"(counts from 1|1 or more|at least 1)\b",
    "{exists}": "already exists; choose another",
    "{other}": "already exists and is not",
}


def parsed(table: str) -> list[tuple[str, str, str]]:
    """(command, what was put into it, pattern) of every case."""
    cases, templates, indented = [], [], False
    for line in filter(None, table.split("\n")):
        if not line.startswith(" "):
            templates = [*([] if indented else templates), line]
            indented = False
            continue
        indented = True
        fills, pattern = (part.strip() for part in line.split("::"))
        for word, meaning in WORDS.items():
            pattern = pattern.replace(word, meaning)
        for fill, template in product(fills.split(" | "), templates):
            cases.append((template.replace("{}", fill), fill, pattern))
    return cases


CASES = {command: (fill, pattern) for command, fill, pattern in parsed(CHEAP) + parsed(FULL)}
CHEAP_COMMANDS = [command for command, _, _ in parsed(CHEAP)]


def check(command: str, code: int, out: str, err: str) -> None:
    """One line names what is wrong with the input; it is no mere echo of what was typed."""
    fill, pattern = CASES[command]
    wanted = pattern.lstrip("~ ")
    assert not re.search(wanted, f"parp {command}"), f"an echo satisfies {wanted!r}"
    lines = [text for text in err.splitlines() if text.strip()]
    assert code == 2, (code, out[-300:], err[-600:])
    assert len(lines) == 1 and lines[0].startswith("parp: error: "), err
    assert re.search(wanted, lines[0]), lines[0]
    if not pattern.startswith("~"):
        named = re.findall(r"[^ =,]{2,}", fill) or re.findall(r"--\S+", command)
        assert any(word in lines[0] for word in named), lines[0]


def snapshot(root: Path) -> dict[Path, tuple[int, int]]:
    """Every path below a folder, with when and how large it was written."""
    stats = {path: path.stat() for path in root.rglob("*")}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}


@pytest.mark.parametrize("command", [command for command, _, _ in parsed(FULL)])
def test_bad_input(command, world, parp, monkeypatch):
    monkeypatch.chdir(world)
    # fairseq waits before it reads a damaged file again.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    before = snapshot(world)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(command, *parp(*command.split()))
    assert snapshot(world) == before


# Runs each command in turn; prints what it said and what it had imported.
PROGRAM = """
import contextlib, io, json, sys
from parp_fairseq import cli

results = []
for command in json.load(sys.stdin):
    sys.argv = ["parp", *command.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
    heavy = [name for name in ("torch", "fairseq", "matplotlib", "rich") if name in sys.modules]
    results.append([code, out.getvalue(), err.getvalue(), heavy])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def cheap(world):
    """What each cheap command said, all in one process: command → code, output, error, imports."""
    before = snapshot(world)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(CHEAP_COMMANDS),
        capture_output=True,
        text=True,
        cwd=world,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert snapshot(world) == before
    return dict(zip(CHEAP_COMMANDS, json.loads(done.stdout)))


@pytest.mark.parametrize("command", CHEAP_COMMANDS)
def test_what_needs_no_torch_is_refused_before_it_is_imported(cheap, command):
    *said, heavy = cheap[command]
    check(command, *said)
    assert heavy == []
