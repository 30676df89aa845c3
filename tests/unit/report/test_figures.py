import pytest
from made_runs import write_run

from parp_fairseq.errors import UserError
from parp_fairseq.report import make_report, style

pytest.importorskip("matplotlib")

SCORES = {"dev-other": 31.0, "test-other": 33.0}
LABELS = ["dense", "PARP 10%", "PARP 90%", "PARP-P 90%"]


@pytest.fixture
def runs(tmp_path):
    out = tmp_path / "runs"
    write_run(out / "dense", "dense", scores=SCORES)
    for seed in (1, 2):
        write_run(out / f"parp{seed}", seed=seed, scores=SCORES)
    write_run(out / "low", sparsity=0.1, scores=SCORES)
    write_run(out / "parp_p", "parp_p", scores=SCORES)
    return out


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, by file name."""
    kept = {}
    save = style.save

    def keep(figure, path):
        save(figure, path)
        kept[path.name] = figure

    monkeypatch.setattr(style, "save", keep)
    return kept


def nothing_is_cut_off(figure):
    figure.canvas.draw()
    inked = figure.get_tightbbox()
    assert min(inked.x0, inked.y0) >= 0
    assert inked.x1 <= figure.get_figwidth() and inked.y1 <= figure.get_figheight()


def test_pictures_show_what_was_measured(runs, tmp_path, drawn):
    make_report([runs], tmp_path / "out")
    assert list(drawn) == ["errors.png", "layers.png"]
    for name, figure in drawn.items():
        assert (tmp_path / "out" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        nothing_is_cut_off(figure)
    axes = drawn["errors.png"].axes[0]
    assert sorted(patch.get_width() for patch in axes.patches) == [31.0] * 4 + [33.0] * 4
    assert [tick.get_text() for tick in axes.get_yticklabels()] == LABELS
    panels = [axes for axes in drawn["layers.png"].axes if axes.images]
    assert [panel.get_title() for panel in panels] == [LABELS[2], LABELS[3], LABELS[1]]
    kinds = [tick.get_text() for tick in panels[1].get_xticklabels()]
    assert kinds == ["k", "q", "v", "out", "fc1", "fc2"]
    cells = [text.get_text() for text in panels[1].texts]
    assert cells == ["85.0", "90.0", "90.0", "90.0", "95.0", "90.0"] * 3


def test_many_sparsities_make_curves_and_many_runs_fit(tmp_path, drawn):
    for method in ("dense", "parp", "parp_p", "mpi"):
        for sparsity in (0.1, 0.5, 0.9)[: 1 if method == "dense" else 3]:
            scores = {"dev-other": 1.0, "test-clean": 100 * sparsity + 5, "test-other": 3.0}
            write_run(tmp_path / f"{method}{sparsity}", method, sparsity, scores=scores)
    make_report([tmp_path], tmp_path / "out")
    for figure in drawn.values():
        nothing_is_cut_off(figure)
    lines = {line.get_label(): line for line in drawn["errors.png"].axes[0].get_lines()}
    assert set(lines) == {"dense", "PARP", "PARP-P", "MPI"}
    points = lines["PARP"].get_xydata().round(6).tolist()
    assert points == [[10, 15], [50, 55], [90, 95]]
    assert len([axes for axes in drawn["layers.png"].axes if axes.images]) == 6


def test_all_files_are_there_or_none(runs, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def fail(*_):
        raise UserError("no figure today")

    with monkeypatch.context() as patched:
        patched.setattr(style, "save", fail)
        with pytest.raises(UserError, match="no figure today"):
            make_report([runs], out)
    assert not out.exists()
    make_report([runs], out)
    files = {path.name for path in out.iterdir()}
    tables = {"table.csv", "table.txt"}
    assert files == {"errors.png", "layers.png", *tables}


def test_without_matplotlib_only_the_table(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(style.importlib.util, "find_spec", lambda *_: None)
    assert make_report([runs]).render().startswith("method")
    with pytest.raises(UserError, match="pip install matplotlib"):
        make_report([runs], tmp_path / "out")
    assert not (tmp_path / "out").exists()
