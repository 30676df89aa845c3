from __future__ import annotations

import base64
import html
import re

import pytest
from made_runs import write_run

import parp_fairseq.report.style as style
from parp_fairseq.errors import UserError
from parp_fairseq.report import make_report

pytest.importorskip("matplotlib")

NAMES = ["errors.png", "layers.png", "training.png"]


@pytest.fixture
def runs(tmp_path):
    out = tmp_path / "runs"
    scores = {"dev-other": 31.0, "test-other": 33.0}
    write_run(out / "dense", "dense", scores=scores)
    mask = "dense/checkpoints/checkpoint_last.pt"
    write_run(out / "omp", "omp", mask=mask, scores=scores)
    for seed in (1, 2):
        write_run(out / f"parp{seed}", seed=seed, iou=0.9, scores=scores, wers=(99.0, 40.0 + seed))
    write_run(out / "low", sparsity=0.1, iou=0.98, scores=scores)
    write_run(out / "parp_p", "parp_p", iou=0.2, scores=scores)
    write_run(out / "mpi", "mpi", scores=scores)
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


LABELS = ["dense", "PARP 10%", "MPI 90%", "OMP 90%", "PARP 90%", "PARP-P 90%"]


def test_pictures_show_what_was_measured(runs, tmp_path, drawn):
    report = make_report([runs], tmp_path / "out")
    assert [picture.name for picture in report.pictures] == NAMES
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        nothing_is_cut_off(drawn[name])

    axes = drawn["errors.png"].axes[0]
    assert sorted(round(patch.get_width(), 6) for patch in axes.patches) == [31.0] * 6 + [33.0] * 6
    assert [tick.get_text() for tick in axes.get_yticklabels()] == LABELS

    panels = [axes for axes in drawn["layers.png"].axes if axes.images]
    assert [panel.get_title() for panel in panels] == LABELS[1:]
    kinds = [tick.get_text() for tick in panels[1].get_xticklabels()]
    assert kinds == ["k", "q", "v", "out", "fc1", "fc2"]
    cells = [text.get_text() for text in panels[1].texts]
    assert cells == ["85.0", "90.0", "90.0", "90.0", "95.0", "90.0"] * 3
    assert panels[1].images[0].get_array().shape == (3, 6)

    constant, ramp, errors = drawn["training.png"].axes
    lines = {line.get_label(): line for line in errors.get_lines()}
    assert list(lines) == LABELS
    assert list(lines["PARP 90%"].get_xdata()) == [20, 40]
    assert list(lines["PARP 90%"].get_ydata()) == [99.0, 41.5]
    # They differ without colour too.
    looks = {(line.get_marker(), line.get_linestyle()) for line in lines.values()}
    assert len(looks) == len(lines)
    ious = {line.get_label(): line.get_ydata()[-1] for line in constant.get_lines()}
    assert ious == {
        "PARP 10%: 0.9800 at the end": pytest.approx(0.98),
        "PARP 90%: 0.9000 at the end": pytest.approx(0.9),
    }
    assert [line.get_ydata()[-1] for line in ramp.get_lines()] == [pytest.approx(0.2)]


def test_many_sparsities_make_curves(tmp_path, drawn):
    rates = {0.3: 30.0, 0.5: 35.0, 0.7: 45.0}
    for sparsity, rate in rates.items():
        scores = {"dev-other": 1.0, "test-other": rate}
        write_run(tmp_path / f"{sparsity}", sparsity=sparsity, scores=scores)
    make_report([tmp_path], tmp_path / "out")
    data = drawn["errors.png"].axes[0].get_lines()[0].get_xydata().tolist()
    assert data == [[pytest.approx(100 * s), rate] for s, rate in rates.items()]


def test_many_runs_still_fit(tmp_path, drawn):
    for method in ("dense", "parp", "parp_p", "mpi", "rp"):
        for sparsity in (0.1, 0.3, 0.5, 0.7, 0.9)[: 1 if method == "dense" else 5]:
            scores = {"dev-other": 1.0, "test-clean": 2.0, "test-other": 3.0}
            write_run(tmp_path / f"{method}{sparsity}", method, sparsity, scores=scores, iou=0.9)
    report = make_report([tmp_path], tmp_path / "out")
    for name in NAMES:
        nothing_is_cut_off(drawn[name])
    labels = [line.get_label() for line in drawn["training.png"].axes[2].get_lines()]
    assert labels == ["dense", "RP 90%", "MPI 90%", "PARP 90%", "PARP-P 90%"]
    assert "each method at its highest sparsity" in report.pictures[2].caption
    assert "Not shown: 14 more settings." in report.pictures[1].caption


def test_the_page_is_one_file_with_everything(runs, tmp_path):
    report = make_report([runs], tmp_path / "out", title="A <title>", introduction="1 < 2 & more")
    page = report.page.read_text()
    images = re.findall(r'(?:src|href|srcset)="([^"]*)"', page)
    for image, name in zip(images, NAMES):
        head, data = image.split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data) == (tmp_path / "out" / name).read_bytes()
    assert len(images) == 3 and not re.search(r"url\(|@import|https?://|<script", page)
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert "A <title>" in text and "1 < 2 & more" in text
    for cell in report.table.cells()[3]:
        assert cell in text
    lines = [line for line in text.splitlines() if line.startswith("fairseq-hydra-train ")]
    # Quoted for a shell.
    assert len(lines) == 7 and lines[0].endswith("common.seed=1 'optimization.lr=[0.0005]'")


def test_all_files_are_there_or_none(runs, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def fail(*_, **__):
        raise UserError("no page today")

    with monkeypatch.context() as patched:
        patched.setattr("parp_fairseq.report.report.render_page", fail)
        with pytest.raises(UserError, match="no page today"):
            make_report([runs], out)
    assert not out.exists()
    make_report([runs], out)
    files = {path.name for path in out.iterdir()}
    assert files == {*NAMES, "report.html", "report.json", "table.csv", "table.md", "table.txt"}


def test_without_matplotlib_only_the_table(runs, tmp_path, monkeypatch):
    find = style.importlib.util.find_spec
    monkeypatch.setattr(
        style.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else find(name, *rest),
    )
    assert make_report([runs]).render().startswith("method")
    with pytest.raises(UserError, match="pip install matplotlib"):
        make_report([runs], tmp_path / "out")
    assert not (tmp_path / "out").exists()
