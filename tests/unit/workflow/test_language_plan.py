"""Worlds of spoken languages, one each or joint, and the models made for them."""

from __future__ import annotations

import copy

import pytest
import yaml
from experiments import models
from experiments.reading import read_plan

from parp_fairseq.errors import UserError

SPEECH = {"language": "{each}", "seed": 2, "utterances": {"train": 8, "dev": 2, "test": 2}}
CONTENT = {
    "models": {"m.pt": {"languages": ["nl", "fr"], "rounds": [6, 12]}},
    "worlds": {
        "one": {
            "about": "a world of {each}",
            "config": "parp_demo",
            "each": ["nl", "fr"],
            "speech": SPEECH,
            "model": "tiny",
            "valid": "dev",
            "test": ["test"],
        },
        "joint": {
            "config": "parp_demo",
            "speech": {**SPEECH, "languages": ["nl", "fr"]},
            "data": "data/joint",
            "model": "m.pt",
            "valid": "dev",
            "test": ["test-nl", "test-fr"],
        },
    },
    "results": {
        "r": {"title": "R", "kind": "languages", "worlds": ["one"], "cells": [{"method": "dense"}]}
    },
}
del CONTENT["worlds"]["joint"]["speech"]["language"]


def plan_of(folder, content=CONTENT):
    (folder / "small.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return read_plan("small", folder)


def changed(world, **entries):
    content = copy.deepcopy(CONTENT)
    content["worlds"][world].update(entries)
    return content


def test_each_language_is_a_world_with_its_own_speech(tmp_path):
    worlds = plan_of(tmp_path).worlds
    assert {name: world.languages for name, world in worlds.items()} == {
        "one-nl": ("nl",),
        "one-fr": ("fr",),
        "joint": ("nl", "fr"),
    }
    nl = worlds["one-nl"]
    assert (nl.group, nl.language, nl.data) == ("one", "nl", "data/languages/nl")
    assert nl.speech == {**SPEECH, "language": "nl"}
    assert (worlds["joint"].group, worlds["joint"].language) == ("joint", None)
    assert worlds["joint"].data == "data/joint"


def test_a_models_recipe_is_of_those_worlds_that_take_it(tmp_path):
    plan = plan_of(tmp_path)
    recipe = CONTENT["models"]["m.pt"]
    assert models.recipes(plan) == {"m.pt": recipe}
    assert plan.worlds["one-nl"].recipe is None
    command = models.making("m.pt", {**recipe, "speakers": 30, "seed": 4})
    assert command[1:] == [
        *(str(models.MAKE), "--languages", "nl,fr", "--speakers", "30", "--rounds", "6,12"),
        *("--seed", "4", "--work", "pretraining/m.pt", "--out", "m.pt"),
    ]
    assert models.MAKE.is_file()


def test_a_model_of_recordings_takes_them_from_the_clones(tmp_path):
    recipe = {"audio": ["mboshi/train"], "width": 192, "updates": 7}
    (tmp_path / "mboshi").mkdir()
    command = models.making("m.pt", recipe, tmp_path)
    assert command[2:6] == ["--audio", str(tmp_path / "mboshi/train"), "--width", "192"]
    assert command[6:8] == ["--updates", "7"]
    with pytest.raises(UserError, match=r"git clone .* DIR/mboshi"):
        models.making("m.pt", recipe)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({}, "models.m.pt takes languages or audio, one of them"),
        ({"languages": ["nl"], "audio": ["mboshi/x"]}, "takes languages or audio, one of them"),
        ({"audio": ["timit/x"]}, "models.m.pt: audio is timit; use mboshi, speechocean762"),
        ({"audio": ["mboshi/x"], "tall": 1}, "models.m.pt: tall has no meaning"),
    ],
)
def test_bad_recipes(tmp_path, recipe, told):
    with pytest.raises(UserError) as error:
        plan_of(tmp_path, {**CONTENT, "models": {"m.pt": recipe}})
    assert told in str(error.value)


def test_a_score_knows_its_models_recipe(tmp_path):
    content = copy.deepcopy(CONTENT)
    content["results"]["r"]["worlds"] = ["joint"]
    before = plan_of(tmp_path, content).scored["joint_dense_seed1"].settings()
    content["models"]["m.pt"]["rounds"] = [6, 13]
    after = plan_of(tmp_path, content).scored["joint_dense_seed1"].settings()
    assert {key for key in before if before[key] != after[key]} == {"recipe"}


def languages(*names):
    return {**{k: v for k, v in SPEECH.items() if k != "language"}, "languages": list(names)}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (changed("one", each=["nl", "xx"]), "worlds.one.speech: there are no words of 'xx'"),
        (changed("one", data="d"), "worlds.one: data does not go with speech.language"),
        (changed("one", speech={**SPEECH, "languages": ["nl"]}), "has language and languages"),
        (changed("one", speech={**SPEECH, "voices": 3}), "speech: voices has no meaning; use"),
        (
            changed("joint", speech=languages("nl", "en")),
            "joint.speech: there are no words of 'en'",
        ),
        (
            changed("joint", speech={**languages("nl"), "seed": 3}),
            "worlds one-nl and joint have nl with different speech",
        ),
        ({**CONTENT, "models": {"m.pt": {}}}, "models.m.pt takes languages or audio"),
        ({**CONTENT, "models": {"m.pt": {"languages": ["xx"]}}}, "models.m.pt: there are no words"),
    ],
)
def test_bad_worlds(tmp_path, content, told):
    with pytest.raises(UserError) as error:
        plan_of(tmp_path, content)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_the_shipped_joint_worlds_decode_all_their_languages():
    plan = read_plan("small")
    joint = [world for world in plan.worlds.values() if len(world.languages) > 1]
    assert joint
    for world in joint:
        assert world.test == tuple(f"test-{language}" for language in world.languages)
    for world in plan.worlds.values():
        if world.recipe is not None:
            assert set(world.languages) <= set(world.recipe.get("languages", ()))
