"""Every measured case in GPU mode: float32 on a card rounds in another order than BVLC Caffe on a CPU, and no more."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
CASES = sorted(path.name for path in (HERE / "cases").iterdir())
TOLERANCE = 1e-4  # of an array's largest number


@pytest.fixture(scope="module")
def scripts():
    """The scripts that run and compare the cases, as modules."""
    sys.path.insert(0, str(HERE))
    import compare
    import run

    sys.path.remove(str(HERE))
    return run, compare


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_case_holds_on_a_gpu(name, scripts, on_gpu, monkeypatch):
    run, compare = scripts
    monkeypatch.chdir(HERE / "cases" / name)
    case = json.loads(Path("case.json").read_text())
    on_gpu()
    found = run.KINDS[case["kind"]](case)
    with np.load(HERE / "reference" / f"{name}.npz") as expected:
        errors = {key: compare.relative_error(np.asarray(found[key]), expected[key]) for key in expected.files}
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] <= max(TOLERANCE, case.get("rtol", 0)), f"{worst}: {errors[worst]:.2e}"
