"""Worlds of recorded speech, on small clones of the corpora."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from experiments import commands, corpora
from experiments.data import make_data
from experiments.plan import HERE, FineTuning, World
from experiments.reading import read_plan
from small_folders import write_mboshi, write_speechocean
from small_manifests import lines_of
from test_experiment_plan import SMALL, write

from parp_fairseq.errors import UserError

MBOSHI = {"name": "mboshi", "units": "phones", "valid_share": 0.3, "seed": 1}


def world(corpus: dict) -> World:
    return World("w", "", "parp_demo", "data/w/1h", "models/m.pt", "valid", ("dev",), corpus=corpus)


def test_the_manifests_are_those_of_the_builder_in_the_work_folder(tmp_path):
    write_mboshi(tmp_path / "clones" / "mboshi")
    out = tmp_path / "work" / "data" / "w" / "1h"
    for _ in range(2):
        make_data(world(MBOSHI), tmp_path / "work", corpora=tmp_path / "clones")
        lines = {split: lines_of(out / f"{split}.phn") for split in ("train", "valid", "dev")}
    assert lines["dev"] == ["n g a"] and len(lines["train"]) + len(lines["valid"]) == 4
    arguments = commands.training(FineTuning(world(MBOSHI), "dense", 0.0, 1), tmp_path / "work")
    assert f"task.data={out}" in arguments


def test_every_corpus_that_may_be_named_has_its_builder(tmp_path):
    write_mboshi(tmp_path / "mboshi")
    write_speechocean(tmp_path / "speechocean762")
    for name in corpora.REPOSITORIES:
        corpora.make_manifests({"name": name, "valid_share": 0.4}, tmp_path, tmp_path / "o" / name)
        assert (tmp_path / "o" / name / "train.tsv").is_file()


def test_a_corpus_that_is_not_there_is_named_with_what_to_clone(tmp_path):
    clone = "git clone .*/besacier/mboshi-french-parallel-corpus DIR/mboshi"
    with pytest.raises(UserError, match=f"{clone}, then pass --config corpora=DIR"):
        make_data(world(MBOSHI), tmp_path)
    with pytest.raises(UserError, match=f"mboshi: no such folder .*{clone}"):
        make_data(world(MBOSHI), tmp_path, corpora=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_a_file_in_the_work_folder_or_the_shipped_one(tmp_path):
    file = tmp_path / "models" / "m.pt"
    with pytest.raises(UserError, match=r"models/m\.pt: no such model; headline_real/README"):
        corpora.model_file("models/m.pt", tmp_path)
    file.parent.mkdir()
    file.touch()
    assert corpora.model_file("models/m.pt", tmp_path) == file
    assert corpora.model_file(str(file), tmp_path / "elsewhere") == file
    assert corpora.model_file("tiny", tmp_path).name == "tiny.pt"


def test_the_shipped_english_model_goes_into_the_work_folder(tmp_path):
    shipped = "models/speechocean762.pt"
    assert corpora.model_file(shipped, tmp_path) == HERE / shipped
    write_mboshi(tmp_path / "clones" / "mboshi")
    ours = replace(world(MBOSHI), model=shipped)
    make_data(ours, tmp_path / "work", corpora=tmp_path / "clones")
    placed = tmp_path / "work" / shipped
    assert placed.read_bytes() == (HERE / shipped).read_bytes()
    # A person's own model of that name is left.
    placed.write_bytes(b"mine")
    make_data(ours, tmp_path / "work", corpora=tmp_path / "clones")
    assert placed.read_bytes() == b"mine"


def planned(folder: Path, corpus: object) -> World:
    entry = {key: value for key, value in SMALL["worlds"]["w"].items() if key != "speech"}
    worlds = {**SMALL["worlds"], "w": {**entry, "corpus": corpus}}
    return read_plan("small", write(folder, {**SMALL, "worlds": worlds})).worlds["w"]


def test_a_score_knows_its_corpus(tmp_path):
    ft = FineTuning(planned(tmp_path, MBOSHI), "dense", 0.0, 1)
    assert ft.settings()["corpus"] == MBOSHI and ft.world.made
    assert not read_plan("small", tmp_path).worlds["many-nl"].made


@pytest.mark.parametrize(
    ("corpus", "told"),
    [
        ({"name": "timit"}, "worlds.w.corpus: name is timit; use mboshi, speechocean762"),
        ({"name": "mboshi", "hour": 1}, "worlds.w.corpus: hour has no meaning; use hours, name"),
        ({"hours": 1}, "worlds.w.corpus lacks name"),
        ({"name": []}, "worlds.w.corpus: name is []; use mboshi, speechocean762"),
        ({"name": "mboshi", "hours": "x"}, "worlds.w.corpus: hours is x, expected a number"),
        ({"name": "mboshi", "valid_share": 3}, "corpus: valid_share is 3, expected a number in"),
        ("mboshi", "worlds.w.corpus must hold keys and values"),
    ],
)
def test_bad_corpora(tmp_path, corpus, told):
    with pytest.raises(UserError) as error:
        planned(tmp_path, corpus)
    assert told in str(error.value)


def test_a_world_is_of_recordings_or_of_made_speech(tmp_path):
    worlds = {"w": {**SMALL["worlds"]["w"], "corpus": MBOSHI}}
    with pytest.raises(UserError, match="w: corpus and speech exclude each other"):
        read_plan("small", write(tmp_path, {**SMALL, "worlds": worlds}))
