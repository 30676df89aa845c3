import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "parp_in_plain_torch.py"


def test_the_example_prunes_and_learns():
    run = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    *updates, last = run.stdout.splitlines()
    accuracies = [float(re.search(r"subnetwork ([\d.]+)%", line)[1]) for line in updates]
    assert len(accuracies) == 4 and accuracies[-1] > 60, run.stdout
    zeros, entries = map(int, re.match(r"(\d+) of (\d+)", last).groups())
    assert (zeros, entries) == (round(0.9 * entries), 20 * 64 + 64 * 64)
    assert len(EXAMPLE.read_text().splitlines()) <= 60
