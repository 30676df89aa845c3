"""What a grid's runs read, and what is told of it before anything starts."""

import shlex
from dataclasses import replace

import prepare
import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.grid.setups import Grid, Setup, read_grid

SPEECH = {"seed": 2, "utterances": {"train": 12}}
ONE = Setup(
    "one", "parp_demo", "data/languages/nl", "m.pt", "dev", ("test",),
    speech={**SPEECH, "language": "nl"},
)  # fmt: skip
JOINT = replace(ONE, name="joint", data="data/joint", speech={**SPEECH, "languages": ["nl", "fr"]})
RECIPE = {"languages": ["nl", "fr"], "rounds": [6, 12]}


def grid_of(*setups, models=None):
    return Grid("g", {setup.name: setup for setup in setups}, {}, models or {})


def test_a_language_is_spoken_once_for_all_that_hear_it():
    made = prepare.settings(grid_of(ONE, JOINT, models={"m.pt": RECIPE}))
    assert made == {
        "data/languages/nl": {"speech": {**SPEECH, "language": "nl"}},
        "data/languages/fr": {"speech": {**SPEECH, "language": "fr"}},
        "data/joint": {"speech": {**SPEECH, "languages": ["nl", "fr"]}},
        "m.pt": {"model": RECIPE},
    }
    # What is yours is not made.
    assert prepare.settings(grid_of(replace(ONE, speech=None))) == {}


def test_the_command_of_a_model_s_pre_training(tmp_path):
    command = shlex.split(prepare.making_model("m.pt", {"model": {**RECIPE, "seed": 4}}, None))
    assert command[1:] == [
        *(str(prepare.MAKE_MODEL), "--languages", "nl,fr", "--rounds", "6,12", "--seed", "4"),
        *("--work", "pretraining/m.pt", "--out", "m.pt"),
    ]
    assert prepare.MAKE_MODEL.is_file()
    (tmp_path / "mboshi/train").mkdir(parents=True)
    recipe = {"model": {"audio": ["mboshi/train"], "width": 192}}
    command = shlex.split(prepare.making_model("m.pt", recipe, tmp_path))
    assert command[2:6] == ["--audio", str(tmp_path / "mboshi/train"), "--width", "192"]
    for corpora in (None, tmp_path / "elsewhere"):
        with pytest.raises(UserError, match=r"git clone https.* DIR/mboshi"):
            prepare.making_model("m.pt", recipe, corpora)


@pytest.mark.parametrize(
    ("setups", "models", "told"),
    [
        ([replace(ONE, speech={"language": "xx"})], {}, "there are no words of 'xx'"),
        ([replace(ONE, speech={"voices": 3})], {}, "data/languages/nl: unknown key voices"),
        ([replace(ONE, corpus={"nam": "x"})], {}, "unknown key nam; use name, hours"),
        ([replace(ONE, speech=SPEECH), JOINT], {}, "two setups make data/languages/nl from"),
        ([ONE], {"m.pt": {"tall": 1}}, "m.pt: unknown key tall; use languages, speakers"),
    ],
)
def test_bad_settings(setups, models, told):
    with pytest.raises(UserError) as error:
        prepare.settings(grid_of(*setups, models=models))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"scal": "paper"}, "unknown scal; use grid, work, results, corpora, gpus"),
        ({"gpus": "two"}, r"--config gpus must be at least 1 \(got two\)"),
        ({"work": 2026}, r"--config work=2026: give the whole path, work=\$PWD/2026"),
    ],
)
def test_bad_options(config, told):
    with pytest.raises(UserError, match=told):
        prepare.read_options(config)
    options = prepare.read_options({"grid": "paper", "work": "/w"})
    assert (options.grid, str(options.work)) == (prepare.HERE / "grids/paper.yaml", "/w")


def test_the_shipped_grids_can_be_prepared():
    made = prepare.settings(read_grid(prepare.HERE / "grids/small.yaml"))
    assert {"data/english/1h", "data/joint", "data/languages/zh-TW", "multilingual.pt"} < set(made)
    assert prepare.settings(read_grid(prepare.HERE / "grids/paper.yaml")) == {}
    joint = [s for s in read_grid(prepare.HERE / "grids/small.yaml").setups.values()
             if "languages" in (s.speech or {})]  # fmt: skip
    for setup in joint:
        assert setup.test == tuple(f"test-{language}" for language in setup.speech["languages"])
