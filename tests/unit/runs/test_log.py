import pytest
from made_runs import log_lines, meters

from parp_fairseq.runs.log import read_log


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_both_logs_of_a_run_say_the_same(tmp_path):
    lines = log_lines(40, (90.0, 45.0), minutes=3.0)
    plain = write(tmp_path / "train.log", lines)
    # Hydra's log has a time and a name in front of each line.
    stamped = [f"[2026-01-01 10:00:00,000][train_inner][INFO] - {line}" for line in lines]
    hydra = write(tmp_path / "hydra_train.log", stamped)
    # fairseq repeats each line once more every epoch.
    repeated = write(tmp_path / "repeated.log", [line for line in lines for _ in range(3)])
    one, *others = (read_log([file]) for file in (plain, hydra, repeated))
    assert others == [one, one]
    assert (one.updates, one.minutes, one.ended) == (40, 3.0, False)
    row = one.validation["dev-other"]
    assert (row["num_updates"], row["wer"]) == (40, 45.0)


def test_a_resumed_run_keeps_what_was_logged_last_and_adds_its_times(tmp_path):
    first = [
        meters(loss=5, num_updates=10, wall=30),
        meters(loss=4, num_updates=20, wall=60),
        meters(**{"dev-other_wer": 80, "dev-other_num_updates": 20}),
        meters(loss=3, num_updates=30, wall=90),
    ]
    second = [
        "between two prunings (5 updates) a pruned weight can move by at most 0.0085 (1e-5 at the "
        "final learning rate 1e-05); the threshold at 70% is 0.034: until training has",
        meters(loss=2, num_updates=30, wall=20, reach=0.75, mask_iou=0.9),
        meters(**{"dev-other_wer": 70, "dev-other_num_updates": 20}),
        # A resumed run says it of what is left.
        "a pruned weight can move by at most 0.001 (…); the threshold at 70% is 0.034: until",
        meters(loss=1, num_updates=40, wall=48, reach=0.5, mask_iou=0.8),
        meters(train_loss=1, train_num_updates=40, train_wall=54, train_train_wall=7),
        "done training in 50.0 seconds",
    ]
    log = read_log([write(tmp_path / "log", [*first, *second])])
    assert (log.updates, log.minutes, log.ended) == (40, (90 + 54) / 60, True)
    assert log.validation["dev-other"]["wer"] == 70
    assert log.pruning == {"reach": pytest.approx(0.5), "mask_iou": 0.8}


def test_a_threshold_of_zero_has_no_reach(tmp_path):
    line = "a pruned weight can move by at most 0.001 (…); the threshold at 70% is 0: some can"
    assert read_log([write(tmp_path / "log", [line, meters(num_updates=1)])]).pruning == {}


def test_noise_and_a_cut_line_are_passed_over(tmp_path):
    lines = log_lines(20, (50.0,))
    path = write(tmp_path / "log", lines)
    with path.open("ab") as stream:
        stream.write(b'{"epoch": 2, "loss": "1", "num_upd')
    with path.open("rb") as stream:
        whole = stream.read()
    path.write_bytes(b"\xff\xfe\n[1, 2]\n{not json}\n" + whole)
    assert read_log([path]).updates == 20


def test_the_first_log_with_meters_is_read(tmp_path):
    empty = write(tmp_path / "empty.log", ["nothing here"])
    full = write(tmp_path / "full.log", log_lines(20, (50.0,)))
    assert read_log([tmp_path / "missing.log", empty, full]).updates == 20
    nothing = read_log([tmp_path / "missing.log"])
    assert nothing.updates == 0 and nothing.minutes == 0 and not nothing.validation
