"""Every measured case in GPU mode: float32 on a card rounds in another order than BVLC Caffe on a CPU, and no more."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
CASES = sorted(path.name for path in (HERE / "cases").iterdir())
TOLERANCE = 1e-4  # of an array's largest number
# Measured on an H100, with cuDNN and without: 1.3e-5 after five iterations, then two nearly equal numbers change places
# in a pooling, and two biases that began at zero are 1.8e-4 and 1.4e-4 off after the tenth.
BEYOND = {"train_no_dropout": 2e-4}


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
    if name in BEYOND and errors[worst] <= BEYOND[name]:
        pytest.xfail(f"{worst}: {errors[worst]:.2e}, as known")
    assert errors[worst] <= max(TOLERANCE, case.get("rtol", 0)), f"{worst}: {errors[worst]:.2e}"
