import ast
import importlib.util
from pathlib import Path

FILE = Path(__file__).resolve().parents[3] / "scripts" / "targets.py"
SPEC = importlib.util.spec_from_file_location("targets", FILE)
targets = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(targets)

PATCHING = """
import numpy as np, torch
from fairseq import checkpoint_utils, trainer as fairseq_trainer
from parp_fairseq import numpy as own
def change(name):
    checkpoint_utils.save_checkpoint = fairseq_trainer.Trainer.step = print
    setattr(np.random, "seed", None)
    torch.a = own.b = local.c = checkpoint_utils = 1
"""


def test_what_is_counted(tmp_path):
    assert sorted(targets.patches(ast.parse(PATCHING))) == [
        "checkpoint_utils.save_checkpoint",
        "fairseq_trainer.Trainer.step",
        "np.random.'seed'",
    ]
    fields = "".join(f"    {name}: int = 0\n" for name in targets.OPTIONS)
    code = f"class Whole:\n{fields}class Part:\n    sparsity: float\n"
    assert list(targets.schemas(ast.parse(code))) == ["Whole"]
    paths = [Path("a", "x.py"), Path("b", "x.py"), Path("a", "__init__.py"), Path("__init__.py")]
    assert targets.repeated([*paths, Path("a", "y.md"), Path("a", "n.txt"), Path("n.txt")]) == [
        "x.py"
    ]
    (tmp_path / "two.py").write_text("a\n\nb")
    assert targets.lines([tmp_path / "two.py", FILE]) == 3 + FILE.read_text().count("\n")


def test_the_table_is_of_this_repository():
    rows = {what: (now, counted) for what, _, now, counted in targets.measure(with_walk=False)}
    assert rows["product lines"][0] > 10 * rows["lines of README.md"][0] > 100
    assert "conftest.py" in rows["file names in two or more places"][1]
