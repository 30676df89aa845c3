"""What a user can get wrong ends in one clear line, before training, with exit code 2."""

import argparse
import re
import shutil

import pytest
import torch

from parp_fairseq.checkpoints.formats import TINY_MODEL

P = "task.prune."

# What is given → the line, as a pattern from its beginning. DIR is the folder of the command.
OPTIONS = {
    "task.data=": r"task\.data is missing: the folder with the manifests",
    "task.data=nowhere": r"DIR/nowhere: no such folder; give the folder",
    "dataset.valid_subset=dev-none": r"\S+/dev-none\.tsv",
    "model.w2v_path=": r"model\.w2v_path is missing: the pre-trained checkpoint",
    "model.w2v_path=none.pt": r"DIR/none\.pt.*(no such|not there|missing)",
    "task.normalize=true": r"\S+tiny\.pt: this model was pre-trained with normalize=False.*"
    r"set task\.normalize=false",
    f"{P}sparsity=90": r"task\.prune\.sparsity is 90.*\(90% is 0\.9\)",
    f"{P}sparsity=half": r"option (task\.)?(prune\.)?sparsity: Value 'half'.* converted to Float",
    f"{P}interval=0": r"task\.prune\.interval must be at least 1",
    f"+{P}sparsty=0.5": r"option (prune\.)?sparsty: Key 'sparsty' (is )?not in ",
    f"{P}method=prap": r"task\.prune\.method is 'prap'; did you mean parp\?",
    f"{P}include=[encoder.blocks.*]": r"task\.prune\.include.*encoder\.layers",
    f"{P}exclude=['*']": r"task\.prune\.exclude leaves nothing",
    f"{P}initial=magic": r"task\.prune\.initial is 'magic': no such file; give magnitude, random",
    f"{P}method=mask": r"task\.prune\.mask is missing",
    f"{P}method=mask {P}mask=none.st": r"task\.prune\.mask is 'DIR/none\.st': no such file",
    f"{P}method=mask {P}mask={TINY_MODEL}": r"\S+tiny\.pt keeps no mask.*omp",
    "distributed_training.distributed_world_size=999": r"distributed_training\."
    r"distributed_world_size: .*999",
    "dataset.max_tokens=20000": r"train\.tsv row 2: .* raise dataset\.max_tokens from 20000",
    "dataset.max_tokens_valid=20000": r"dev-other\.tsv row 2: .* raise dataset\."
    "max_tokens_valid from 20000",
    "+optimization.clip_nrm=1": r"optimization\.clip_nrm: no such.*did you mean .*\.clip_norm\?",
    "+checkpoint.zzz=1": r"checkpoint\.zzz: no such option of this fairseq; leave it out",
    "+optimisation.clip_norm=1": r"optimisation: no such section; did you mean optimization\?",
    "+optimizer.base.weight_deca=1": r"optimizer\.base: .*'weight_deca'",
    "optimizer.base.adam_betas=0.9": r"optimizer\.base: ",
    "lr_scheduler._name=none": r"lr_scheduler: KeyError: 'none'",
    "lr_scheduler.phase_ratio=[0.1,0.1]": r"lr_scheduler: AssertionError: phase ratios must add up",
    "optimization.max_update=1": r"optimization\.max_update is too small for the phases",
    "optimization.update_freq=[0]": r"optimization\.update_freq is \[0\]; each must be at least 1",
    "+model.load_ema=true": r"the training cannot begin: AssertionError",
    # A machine without GPUs makes one process of it.
    "distributed_training.distributed_port=1234 distributed_training.distributed_no_spawn=true "
    "distributed_training.distributed_world_size=2": r"distributed_training\.distributed_port=1234 "
    "is for SLURM",
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option(train, case):
    expected = OPTIONS[case].replace("DIR", re.escape(str(train.folder)))
    assert re.match(expected, train.refusal(*case.split())), train.refusal(*case.split())


def test_what_is_right_is_not_refused(train):
    assert train.refusal() == ""
    # No batch is made of a set that nothing validates on.
    assert train.refusal("dataset.max_tokens_valid=20000", "dataset.disable_validation=true") == ""


class Hostile:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def tiny_state():
    return torch.load(TINY_MODEL, weights_only=True)


def saved(change):
    return lambda path: torch.save(change(tiny_state()), path)


def finetuned(state):
    model = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in state["model"].items()}
    return {**state, "model": model}


def without(name):
    return lambda state: {
        **state,
        "model": {key: value for key, value in state["model"].items() if key != name},
    }


def named(change):
    return lambda state: {
        **state,
        "model": {change(name): tensor for name, tensor in state["model"].items()},
    }


def renamed(other):
    return named(lambda name: name.replace("1.fc1", other))


def of_model(**settings):
    return lambda state: {
        **state,
        "cfg": {**state["cfg"], "model": {**state["cfg"]["model"], **settings}},
    }


def renormed(name):
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        name = name.replace(f"pos_conv.0.{old}", f"pos_conv.0.parametrizations.weight.{new}")
    return name


def misshapen_model(state):
    state["model"]["encoder.layers.1.fc1.weight"] = torch.zeros(3, 3)
    return state


def not_finite(state):
    state["model"]["encoder.layers.1.fc1.weight"][3, 4] = float("nan")
    return state


def unfit(change, expected):
    return saved(change), rf": model\.w2v_path does not fit .*: {expected}"


# What writes the file, and the line behind the file's name.
FILES = {
    "truncated": (
        lambda path: path.write_bytes(TINY_MODEL.read_bytes()[:-5000]),
        " is truncated or damaged",
    ),
    "hostile": (
        lambda path: torch.save({"model": {}, "args": argparse.Namespace(), "x": Hostile()}, path),
        ".*print",
    ),
    "fine-tuned": (
        saved(finetuned),
        ": model.w2v_path is a fine-tuned model; .*checkpoint.finetune_from_model",
    ),
    "not finite": (saved(not_finite), r": encoder\.layers\.1\.fc1\.weight holds NaN or infinity"),
    "a lost layer": unfit(without("encoder.layers.1.fc1.weight"), r"it lacks \S+1\.fc1\S+;"),
    "a prefix": unfit(named("model.{}".format), ".*take 'model.' off the beginning"),
    "new weight_norm": unfit(named(renormed), ".*rename original0 and original1"),
    "few layers": unfit(of_model(encoder_layers=5), r"only it has \S+5\.\S+ and 15 more"),
    "a matrix of another shape": unfit(misshapen_model, r"of another shape is \S+1\.fc1\."),
    "a conformer": unfit(renamed("1.ffn1.w_1"), r".*set \+model\.layer_type=conformer"),
    "adapters": unfit(renamed("1.adapter_layer.W_a"), r".*set \+model\.layer_type=trf_adp"),
    "no history": (
        saved(lambda state: {**state, "optimizer_history": []}),
        ": its optimizer_history is empty",
    ),
    "an unknown model": (
        saved(of_model(_name="wav2vec9")),
        r" is of a model that fairseq does not know \(wav2vec9\)",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_file(train, capsys, case):
    write, expected = FILES[case]
    file = train.folder / "file.pt"
    write(file)
    line = train.refusal("model.w2v_path=file.pt")
    assert re.match(re.escape(str(file)) + expected, line), line
    assert "code from a checkpoint ran" not in capsys.readouterr().out


def lines(name, change):
    def edit(folder):
        path = folder / name
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    return edit


def longer(row, text):
    return lambda all_lines: [
        text + line if number == row else line for number, line in enumerate(all_lines, 1)
    ]


DATA = {
    "fewer labels": (lines("train.ltr", lambda rows: rows[:-2]), r"/train\.ltr.*30.*32"),
    "unknown character": (
        lines("dev-other.ltr", longer(5, "É ")),
        r"/dev-other\.ltr row 5: .*É.* is not in",
    ),
    "too long for CTC": (
        lines("train.ltr", longer(7, "E " * 500)),
        r"/train\.ltr row 7 needs .*CTC cannot align",
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_data(train, tmp_path, data, case):
    change, expected = DATA[case]
    shutil.copytree(data, tmp_path / "data")
    change(tmp_path / "data")
    line = train.refusal("task.data=data")
    assert re.match(re.escape(str(tmp_path / "data")) + expected, line), line


# As users give them: what Hydra finds, what our checks find, and what only a built model shows.
COMMANDS = {
    "task.prune.sparsty=0.5": r"task\.prune\.sparsty: no such option; `parp configs show NAME`",
    "optimization.max_update=many": r"optimization\.max_update=many: .*many",
    "task.prune.include=[a": r"",
    "common.user_dir=null": r"common\.user_dir is missing; task parp needs",
    "common.user_dir=parp_fairsek": r"common\.user_dir=parp_fairsek cannot be imported",
    "common.user_dir=/usr/share": r"common\.user_dir=/usr/share has no task parp",
    "task.prune.exclude=['*']": r"task\.prune\.exclude leaves nothing",
}


@pytest.mark.legacy
@pytest.mark.parametrize("command", COMMANDS)
def test_command(train, command):
    run = train(command)
    assert run.code == 2, run.tail
    assert re.match(f"parp: error: {COMMANDS[command]}", run.error), run.tail
    assert run.output.splitlines()[-1] == run.error and "Traceback" not in run.output
    # Only a built model shows what is excluded; all else is refused before fairseq says a word.
    if "exclude" not in command:
        assert run.output.splitlines() == [run.error]
        # A user dir is looked for in the folder that Hydra has made.
        assert run.folder.exists() == ("user_dir" in command)


@pytest.mark.parametrize(
    ("name", "hint"), [("parp_10mni", "did you mean parp_10min?"), ("mine", "there are parp_10h")]
)
def test_unknown_config(train, name, hint):
    run = train(config=name)
    assert run.code == 2
    assert run.error.startswith(f"parp: error: no config named '{name}'; {hint}")
    assert run.output.splitlines() == [run.error]
