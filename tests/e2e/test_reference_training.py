"""`caffe train` on the real photographs, beside logs of BVLC Caffe from the same files, weights and seed."""

import os
import re
import subprocess
import sys
from itertools import accumulate

import pytest

ITERATIONS = 20


def losses(text):
    """The losses of a log's first iterations."""
    return [float(loss) for loss in re.findall(r"Iteration \d+ \(.*?\), loss = (\S+)", text)][:ITERATIONS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "weights"),
    [("squeezenet", "squeezenet_v1.0.caffemodel"), ("caffenet_conv-fc6-2", "caffenet_conv.caffemodel")],
)
def test_losses_are_bvlcs_as_closely_as_two_builds_of_bvlc_agree(shared, tmp_path, run, weights):
    """Equal at first; then within ten times what two builds of BVLC Caffe, with other kernels, have differed by."""
    for name in "ground_truth", "deepsent", "weights":
        (tmp_path / name).symlink_to(shared / "data" / name)
    reference = shared / "data" / "reference" / run / "fold1"
    folder = tmp_path / "reference" / run / "fold1"
    folder.mkdir(parents=True)
    (folder / "train_val.prototxt").write_bytes((reference / "train_val.prototxt").read_bytes())
    solver = (reference / "solver.prototxt").read_text()
    shortened = f"max_iter: {ITERATIONS} snapshot_after_train: false test_initialization: false"
    (folder / "solver.prototxt").write_text(re.sub(r"max_iter: \d+", shortened, solver))
    command = [sys.executable, "-m", "caffe.cli", "train", "-solver", "solver.prototxt"]
    command += ["-weights", f"../../../weights/{weights}"]
    environment = {key: value for key, value in os.environ.items() if key != "GLOG_minloglevel"}
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)

    ours, theirs, others = (
        losses(text)
        for text in (
            process.stderr,
            (reference / "train.log").read_text(errors="replace"),
            (reference / "train_other_kernel.log").read_text(errors="replace"),
        )
    )
    assert len(ours) == len(theirs) == len(others) == ITERATIONS
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5, rel=0)
    drift = list(accumulate((abs(a - b) for a, b in zip(theirs, others, strict=True)), max))
    for iteration in range(2, ITERATIONS):
        assert abs(ours[iteration] - theirs[iteration]) <= 10 * drift[iteration], f"iteration {iteration}"
    assert abs(ours[1] - theirs[1]) <= 1.0001e-5 * max(1, theirs[1])
