"""Every measured case of BVLC Caffe holds, each at its own tolerance."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CASES = sorted(path.name for path in (HERE / "cases").iterdir())


@pytest.mark.parametrize("case", CASES)
def test_case_holds(verdicts, case):
    assert verdicts[case].startswith("ok"), verdicts[case]


def test_a_selection_runs_no_other_case():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE, "-k", "softmax_loss"]
    said = subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True, timeout=600).stdout
    assert "4 of 4 cases hold" in said, said
