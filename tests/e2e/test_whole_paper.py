"""benchmarks/whole_paper.py: the estimate from a sample, several trainings at a time."""

import re
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sample_of_each_subset_gives_the_time_of_all_trainings(jobs, root, tmp_path):
    script = [sys.executable, root / "benchmarks" / "whole_paper.py", tmp_path, "--sample", "--jobs", str(jobs)]
    small = ["--images", "25", "--divisor", "16", "--iterations", "1", "--batch-size", "4"]
    said = subprocess.run([*script, *small], check=True, capture_output=True, text=True, timeout=600).stdout
    found = re.findall(r"^(\w+_agrees): ([\d.]+) s for one of (\d+) trainings", said, re.MULTILINE)
    assert [(subset, count) for subset, _, count in found] == [
        ("five_agrees", "65"),
        ("four_agrees", "5"),
        ("three_agrees", "5"),
    ]
    assert re.search(r"^all 75 trainings and tests, extrapolated: \d+ s", said, re.MULTILINE)
    # those in which the processes start, one of each subset, and those that keep the processes at work
    assert len(list(tmp_path.glob("runs/*/*/*/result.json"))) == jobs + 3 + jobs - 1
