"""benchmarks/gpu.sh, with programs in place of Python, the driver and MPS that write down how they are called."""

import os
import subprocess

import pytest

PYTHON = """#!/bin/sh
echo "$@ MPS=$CUDA_MPS_PIPE_DIRECTORY" >> "$CALLS/python"
case "$*" in
  "-m pytest"*) echo "5 passed in 1.00s" ;;
  *run.py*) echo "out of memory"; exit 3 ;;
  *whole_paper.py*) echo "all 75 trainings and tests, extrapolated: 700 s" ;;
esac
"""
NETS = ("squeezenet_v1.0.caffemodel", "bvlc_googlenet.caffemodel")


@pytest.fixture
def measure(root, tmp_path):
    """Call it with the names of the weights that there are, and MPS's exit status; the calls, status and summary."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "weights").mkdir()
    (tmp_path / "data" / "splits").mkdir(parents=True)

    def program(name, text):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(nets, mps=0):
        for name in (*nets, "ilsvrc_2012_mean.binaryproto"):
            (tmp_path / "weights" / name).touch()
        program("python", PYTHON)
        program("pgrep", "#!/bin/sh\nexit 1\n")
        program("nvidia-smi", "#!/bin/sh\necho A GPU, 1.2.3, 80 GiB\n")
        program(
            "nvidia-cuda-mps-control",
            f'#!/bin/sh\n[ "$1" = -d ] || read word\necho $1$word >> $CALLS/mps\nexit {mps}\n',
        )
        environment = {
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHON": str(tmp_path / "bin" / "python"),
            "CALLS": str(tmp_path),
            "GPU": "0",
        }
        command = [root / "benchmarks" / "gpu.sh", tmp_path / "out", tmp_path / "data", tmp_path / "weights"]
        status = subprocess.run(["bash", *command], env=environment, capture_output=True, timeout=120).returncode
        calls = (tmp_path / "python").read_text().splitlines()
        return calls, (tmp_path / "mps").read_text().split(), status, (tmp_path / "out" / "summary.md").read_text()

    return run


def test_a_part_that_fails_does_not_keep_the_others_from_running(measure):
    calls, mps, status, summary = measure(NETS)
    assert status == 1
    for told in (
        "A GPU, 1.2.3, 80 GiB",
        "5 passed",
        "out of memory",
        "30 trainings and tests in",
        "extrapolated: 700 s",
    ):
        assert told in summary
    for tool in ("train.py", "evaluate.py"):
        of_tool = [call for call in calls if tool in call]
        assert len(of_tool) == 2 * 3 * 5
        assert all("--gpu 0" in call and "MPS=/" in call for call in of_tool)
    assert mps == ["-d", "quit"]
    assert [call for call in calls if "whole_paper.py" in call and "--jobs 2" in call and "MPS=/" in call]
    assert [call for call in calls if "whole_paper.py" in call and "--jobs" not in call and call.endswith("MPS=")]


def test_what_is_missing_is_left_out(measure):
    calls, _, _, summary = measure(NETS[:1], mps=1)
    assert "squeezenet" in " ".join(calls) and "--arch googlenet" not in " ".join(calls)
    assert NETS[1] in summary and "15 trainings and tests in" in summary
    assert "without MPS" in summary and not [call for call in calls if "MPS=/" in call]


@pytest.mark.parametrize(("words", "python", "named"), [([], "true", "OUT"), (["out"], "no-such-python", "PYTHON")])
def test_without_a_folder_or_a_python_nothing_is_written(words, python, named, root, tmp_path):
    command = ["bash", root / "benchmarks" / "gpu.sh", *(str(tmp_path / word) for word in words)]
    done = subprocess.run(command, env={**os.environ, "PYTHON": python}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu.sh: ") and named in done.stderr and done.stderr.count("\n") == 1
    assert not done.stdout and not list(tmp_path.iterdir())
