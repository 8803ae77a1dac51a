"""Every measured case of BVLC Caffe holds, each at its own tolerance."""

from pathlib import Path

import pytest

CASES = sorted(path.name for path in (Path(__file__).resolve().parent / "cases").iterdir())


@pytest.mark.parametrize("case", CASES)
def test_case_holds(verdicts, case):
    assert verdicts[case].startswith("ok"), verdicts[case]
