"""Every command that the pages show is run at toy size, in a copy of the project, offline; one test per page.

If a command cannot be run as it is shown, a table below says what is run instead, which error it must give, or why it
is not run.
"""

import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import caffe
from helpers import toy
from helpers.pages import COMMAND, PAGES, blocks, commands, shown
from sentiment import paper
from sentiment.data import dataset
from sentiment.data.means import binaryproto
from sentiment.demo import stand_ins
from sentiment.networks import architectures
from sentiment.utils.files import PROJECT

SEARCH, HOURS = "python benchmarks/schedules.py search --arch", "takes hours; test_schedules.py runs the script"
WHICH = "--init %s.caffemodel --mean models/imagenet_mean.binaryproto --grid"
EXEMPT = {
    "make setup": "downloads 2 GB; CI sets up a bare machine",
    "make demo": "minutes; test_demo.py and test_demo_sources.py run its tools, tables are made here",
    "make demo-paper": "as `make demo`, then `make paper`, which is run here",
    "make test": "these tests themselves",
    "make test-all": "these tests themselves",
    "make test-gpu": "needs a GPU",
    "nvidia-cuda-mps-control -d": "needs a GPU",
    "benchmarks/gpu.sh results/gpu data/deepsent path/to/weights": "needs a GPU; test_whole_paper.py runs a part of it",
    "make fold-all ARCH=squeezenet SEED=1 GPU=0 &": "needs a GPU",
    "make fold-all ARCH=squeezenet SEED=2 GPU=0 &": "needs a GPU",
    "wait": "waits for the commands before",
    f"{SEARCH} squeezenet {WHICH % 'squeezenet_v1.0'} base_lr=1e-5,2e-5,4e-5 new_lr_mult=0.3,1,3 "
    "iterations=66,110": HOURS,
    f"{SEARCH} googlenet {WHICH % 'bvlc_googlenet'} base_lr=0.0005,0.001,0.002 new_lr_mult=3,10 iterations=66": HOURS,
    "make coverage": "these tests themselves",
    "make conformance": "a part of these tests",
    "make check": "checks this project's code; CI runs it before the tests",
    "make bench": "ten minutes, and measures this machine",
    "make growth": "ten minutes, and measures this machine",
    "pip install -e .": "changes the environment that the tests run in",
    "pip install -e '.[cluster]'": "changes the environment that the tests run in",
    "pip install -e '.[leveldb,draw]'": "changes the environment that the tests run in",
    "pip install atheris": "changes the environment that the tests run in",
    "pip uninstall caffe": "changes the environment that the tests run in",
    "python tests/fuzz/fuzz_readers.py all -max_total_time=60": "needs atheris; test_readers.py damages the same files",
    ".venv/bin/ray stop": "would end every Ray of the user; the test ends the nodes it started",
}

ITSELF = "{}"
RUN = "runs/five_agrees/finetune-caffenet/fold1"
TRAIN = "caffe train -solver solver.prototxt"
WHOLE = ".venv/bin/python benchmarks/whole_paper.py"
OURS = "snapshot_iter_1.safetensors"
ANEW = (f"rm -rf {RUN}", ITSELF)
ARCHIVE = "make data ARCHIVE=archive.zip"
INSTEAD = {  # command -> what is run, with placeholders filled in and what it needs before and after
    "make data": ("mv data/deepsent aside", ITSELF, "mv aside data/deepsent"),
    "make data ARCHIVE=FILE": ("mv data/deepsent aside", ARCHIVE),
    "make data splits": ("mv data/deepsent aside", ARCHIVE, ITSELF, "rm -r data/deepsent", "mv aside data/deepsent",
                         "make splits"),
    "make fold-all INIT=path/to/my_network.caffemodel MEAN=path/to/my_mean.binaryproto": ("rm -r runs", ITSELF),
    "make fold-all INIT=path/to/my_network.caffemodel MEAN=104,117,123": ("rm -r runs", ITSELF),
    "make fold-all INIT=my_network": ("rm -r runs", ITSELF),
    f"{TRAIN} [-weights a.caffemodel,b.caffemodel | -snapshot s.solverstate] [-gpu 0]": (
        TRAIN, f"{TRAIN} -weights a.caffemodel,b.caffemodel", "cp snapshot_iter_1.solverstate s.solverstate",
        f"{TRAIN} -snapshot s.solverstate", f"{TRAIN} -gpu 0"),
    "make paper EXECUTOR=ray GPUS_PER_RUN=0.5": ANEW,
    "make paper EXECUTOR=ray GPUS_PER_RUN=1": (*ANEW, "make paper EXECUTOR=ray"),
    **{probe: (f"{probe} ITERS= BATCH=",) for probe in (  # a probe is fitted, not trained in iterations
        f"make fold-all ARCH={net}-probe INIT={weights}.caffemodel MEAN=models/imagenet_mean.binaryproto SUBSET=all"
        for net, weights in (("squeezenet", "squeezenet_v1.0"), ("googlenet", "bvlc_googlenet")))},
    "make laptop": ("make laptop ARCH=finetune INIT=caffenet DATA=data/deepsent",),
    f"{WHOLE} /scratch/whole --gpu 0": (
        f"{WHOLE} whole --gpu 0 --images 25 --divisor 16 --iterations 1 --batch-size 4",),
    "CAFFE_FORKS=my_fork PYTHONPATH=. caffe time -model shift.prototxt -iterations 1": (
        "mv program.py my_fork.py", "CAFFE_FORKS=my_fork PYTHONPATH=.:python caffe time -model shift.prototxt"),
}  # fmt: skip

NO_FILE = r"is missing, and .*link.*\n  get it elsewhere.* and put it at \S+/models/"
REFUSED = {  # command -> its error, with exit status 2, without a network
    "make data": r"the DeepSent images cannot be downloaded \(the proxy refuses the connection\)",
    "make data splits": r"train.txt is missing, and none of its 2 links gives it \(the proxy refuses the connection\)",
    "make models INIT=caffenet": NO_FILE + "bvlc_reference_caffenet.caffemodel",
    "make models INIT=places": NO_FILE + "places205CNN_iter_300000.caffemodel",
    "make models INIT=authors": NO_FILE + "twitter_finetuned_test4_iter_180.caffemodel",
    "make models INIT=all": NO_FILE + "places205CNN_iter_300000.caffemodel",
}
ON_A_GPU = re.compile(r"GPU=\d|gpu \d|GPUS_PER_RUN=")
NO_GPU = "no CUDA|no node has room for CPUS_PER_RUN=1 and GPUS_PER_RUN="

INPUT_LAYER = 'layer { type: "Input" top: "x" input_param { shape { dim: [2, 3] } } }'
FORKS = [f"echo '{INPUT_LAYER} {layer}' > {name}.prototxt" for name, layer in (
    ("ssd", 'layer { type: "Permute" bottom: "x" top: "y" permute_param { order: 1 } }'),
    ("shift", 'layer { type: "Shift" bottom: "x" top: "y" shift_param { by: 3 } }'))]  # fmt: skip
FIRST = {  # page -> what its commands need
    "docs/engine.md": ("make fold", f"cp {RUN}/*.prototxt .", f"cp {RUN}/*.caffemodel w.caffemodel",
                       "cp w.caffemodel model.caffemodel", "ln -s data/deepsent/images",
                       "cp data/deepsent/twitter_five_agrees.txt list.txt", *FORKS),
    "docs/howto/forks.md": tuple(FORKS),
    "docs/howto/own-architecture.md": ("make splits DATA=data/demo",),
    "docs/howto/predict.md": ("make fold", "make fold DATA=data/demo RUNS=runs/demo", f"cp {RUN}/deploy.prototxt .",
                              f"cp {RUN}/*.caffemodel any.caffemodel",
                              "python tools/net_surgery.py --model deploy.prototxt --weights any.caffemodel"),
    "docs/howto/report.md": ("make fold-all DATA=data/demo RUNS=runs/demo",),
}  # fmt: skip
PRELUDES = {  # page -> what its program needs
    "docs/howto/predict.md": f"import os\nos.chdir('{RUN}')\nos.link('{OURS}', 'snapshot_iter_180.safetensors')\n",
}
MADE = {  # page -> files that its commands write
    "README.md": ["results/deepsent/report.html", f"{RUN}/result.json"],
    "docs/engine.md": ["mean.binaryproto", "features/data.mdb", "current.prototxt"],
    "docs/howto/cluster.md": ["results/deepsent/report.html", "runs/ray.log"],
    "docs/howto/own-architecture.md": ["small-results/predictions.csv"],
    "docs/howto/own-data.md": ["splits/photographs/five_agrees/test5/train.txt", "runs/photographs/five_agrees"],
    "docs/howto/own-model.md": [
        "runs/five_agrees/finetune-my_network/fold5/result.json",
        "models/converted",
    ],
    "docs/howto/predict.md": ["results/predictions/holiday.jpg_map.png", "exported/any_conv.onnx"],
    "docs/howto/report.md": ["results/demo/report.html"],
    "docs/howto/troubleshooting.md": ["data/deepsent/twitter_three_agrees.txt"],
    "docs/howto/weak-labels.md": [
        f"runs/five_agrees/pcnn-{init}/fold5/result.json" for init in ("scratch", "flickr-progressive", "flickr-plain")
    ],
    "docs/protocol.md": ["runs/five_agrees/finetune-caffenet-plain/fold1", "plain/results/deepsent/table5.md"],
    "docs/results.md": ["runs/five_agrees/source-caffenet_conv/layers.json"],
}


@cache
def steps():
    """Page -> what is run: its blocks, then the commands that only its text has and that no page before it has."""
    found = {name: shown(page) for name, page in PAGES.items()}
    seen = {*EXEMPT, *(text for of_page in found.values() for _, text in of_page)}
    for name, of_page in found.items():
        alone = [command for command in dict.fromkeys(commands(PAGES[name])) if command not in seen]
        seen.update(alone)
        of_page += [("sh", command) for command in alone]
    return {name: [(kind, text) for kind, text in of_page if text not in EXEMPT] for name, of_page in found.items()}


def test_every_command_is_run_or_has_a_reason_not_to_be():
    found = {command for page in PAGES.values() for command in commands(page)}
    run = {text for of_page in steps().values() for kind, text in of_page if kind == "sh"}
    other = [text for page in PAGES.values() for kind, text in blocks(page) if kind not in ("sh", "python")]
    assert not [line for text in other for line in text.splitlines() if COMMAND.match(line)]
    assert run.isdisjoint(EXEMPT)
    assert run | EXEMPT.keys() == found
    assert run >= {*INSTEAD, *REFUSED}
    assert {*FIRST, *PRELUDES, *MADE} <= PAGES.keys()


class Sandbox:
    """A copy of the project to run commands in."""

    def __init__(self, folder):
        self.folder, self.ends, self.cluster = folder, ExitStack(), None
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True)
        if listed.returncode or not Path(sys.prefix, ".set-up").is_file():
            pytest.skip("needs git's working copy and the .venv of `make setup`")
        for name in listed.stdout.decode().splitlines():
            if (PROJECT / name).is_file() and not name.startswith("tests/"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, folder / name)
        (folder / ".venv").symlink_to(sys.prefix)
        for name in "requirements.lock", "pyproject.toml":
            os.utime(folder / name, (0, 0))  # so that make finds .venv newer
        (folder / "home").mkdir()
        self.environment = {
            "PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "python"),  # before the project installed in .venv
            "HOME": str(folder / "home"),
            "http_proxy": "http://127.0.0.1:9",  # nothing listens there
            "https_proxy": "http://127.0.0.1:9",
            "OMP_NUM_THREADS": "1",
            "ITERS": "1",
            "BATCH": "4",
            "CPUS_PER_RUN": "1",
        }
        self.run('test "$(python -c "from sentiment.utils import files; print(files.PROJECT)")" = "$PWD"')

    def run(self, line, status=0, says=""):
        """Run a shell command."""
        process = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=1800
        )
        self.check(line, process.returncode, process.stdout + process.stderr, status, says)

    def check(self, line, ended, said, status, says=""):
        """Check the exit status and the output of a command."""
        assert ended == status and "Traceback" not in said and re.search(says, said), f"{line}\n{ended}\n{said}"

    def command(self, line):
        """Run a command of a page."""
        if line.startswith("export "):
            self.environment |= dict(word.split("=", 1) for word in shlex.split(line)[1:])
        elif re.search(r"make serve|tools/serve\.py", line):
            self.serve(line)
        elif line.startswith(".venv/bin/ray start"):
            self.start_node(line)
        elif ON_A_GPU.search(line) and not torch.cuda.is_available():
            self.run(line, 2, NO_GPU)
        else:
            self.run(line, 2 if line in REFUSED else 0, REFUSED.get(line, ""))

    def program(self, text):
        """Run a Python program."""
        (self.folder / "program.py").write_text(text)
        self.run("python program.py")

    def serve(self, line):
        """Start a server on a free port, check that it answers, and end it with Ctrl-C."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        line += f" PORT={port}" if line.startswith("make") else f" --port {port}"
        with open(self.folder / "served.txt", "w+") as said:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.folder,
                env=self.environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                wait_for(lambda: answers(port), process, said)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
            ended = process.wait(timeout=300)
            said.seek(0)
            self.check(line, ended, said.read(), -signal.SIGINT if line.startswith("make") else 0)

    def start_node(self, line):
        """Start a Ray node that ends with the test."""
        words = line.replace("$(hostname)", platform.node()).replace("head.example.org:6379", self.cluster.address)
        words = words.replace("--port=6379", f"--port={self.cluster.address.split(':')[1]}").split()
        self.cluster.start(f"node{len(self.cluster.nodes)}", *words[2:])


def wait_for(look, process, said):
    """Wait until ``look`` returns true, while a process runs."""
    deadline = time.monotonic() + 300
    while not look():
        assert process.poll() is None and time.monotonic() < deadline, Path(said.name).read_text()
        time.sleep(0.1)


def answers(port):
    """Whether a page is served at a port."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/") as page:
            return page.status == 200
    except OSError:
        return False


@pytest.fixture
def sandbox(tmp_path, source):
    """A copy of the project with toy data where the pages expect it."""
    sandbox = Sandbox(tmp_path / "project")
    furnish(sandbox.folder, source)
    with sandbox.ends:
        yield sandbox


def furnish(folder, source):
    """Write the files that the pages name."""
    for name in "data/deepsent", "data/demo", "my/photographs":
        # As demo data, so that their own model cards count as the paper's networks.
        toy.data_set(folder / name, Path(name).name, paper.SUBSETS, more="demo: true\n")
        (folder / name / "models").mkdir()
        shutil.copy(source, folder / name / "models" / "toy.caffemodel")
        for init in paper.INITIALISATIONS:
            card = f"title: {init}\nabout: Toy.\nfile: toy.caffemodel\nmean: [104, 117, 123]\n"
            (folder / name / "models" / f"{init}.yaml").write_text(card)
    toy.weak_set(folder / "my/flickr")
    (folder / "path/to").mkdir(parents=True)
    for name in "a", "b", "path/to/my_network", "models/my_network":
        shutil.copy(source, folder / f"{name}.caffemodel")
    net = caffe.Net(str(source.parent / "deploy.prototxt"), str(source), caffe.TEST)
    state = {f"{name}.{kind}": torch.tensor(blob.data) for name, blobs in net.params.items()
             for kind, blob in zip(("weight", "bias"), blobs)}  # fmt: skip
    torch.save(state, folder / "path/to/other_network.pth")
    mean = binaryproto(stand_ins.even_image(paper.IMAGENET_MEANS_BGR))
    for name in "path/to/my_mean", "models/imagenet_mean":
        (folder / f"{name}.binaryproto").write_bytes(mean)
    card = re.search(r"```yaml\n(.*?)```", (PROJECT / "models" / "README.md").read_text(), re.DOTALL)[1]
    (folder / "models" / "my_network.yaml").write_text(card.replace("classes: 1000", "classes: 5"))  # as the toy has

    model = caffe.proto.caffe_pb2.NetParameter.FromString(source.read_bytes())
    convolutions = [layer for layer in model.layer if layer.type == "Convolution"]
    del model.layer[:]
    model.layer.extend(convolutions)
    (folder / "caffenet_conv.caffemodel").write_bytes(model.SerializeToString())
    definition = str(architectures.deploy("squeezenet")).replace("conv10_twitter", "conv10")
    toy.weights(definition, folder / "squeezenet_v1.0.caffemodel")
    definition = str(architectures.deploy("googlenet")).replace("loss3/classifier_twitter", "loss3/classifier")
    toy.weights(definition, folder / "bvlc_googlenet.caffemodel")

    rng = np.random.default_rng(2)
    for name in "holiday.jpg", "dog.png":
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (60, 80, 3), np.uint8))
    tiny = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for name in dataset.manifest():
            archive.writestr(f"Agg_AMT_Candidates/{name}", tiny)
    (folder / "path/to/its/bin").mkdir(parents=True)
    python = folder / "path/to/its/bin/python"  # not a link: a .venv's Python finds its packages by its path
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (folder / "path/to/caffe/python").mkdir(parents=True)
    (folder / "path/to/caffe/python/caffe").symlink_to(folder / "python/caffe")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, of_page in steps().items() if of_page])
def test_the_commands_of_a_page(name, sandbox):
    if name == "docs/howto/cluster.md":
        set_up_ray(sandbox)
    for line in FIRST.get(name, ()):
        sandbox.run(line)
    for kind, text in steps()[name]:
        if kind == "python":
            sandbox.program(PRELUDES.get(name, "") + text)
        elif kind == "script":
            (sandbox.folder / "script.sh").write_text(text)
            sandbox.run("bash -n script.sh")
        else:
            for line in INSTEAD.get(text, (ITSELF,)):
                sandbox.command(line.replace(ITSELF, text))
    for made in MADE.get(name, ()):
        assert (sandbox.folder / made).exists(), made


def set_up_ray(sandbox):
    """A home and a folder for Ray's files, with paths short enough for it; its nodes end with the test."""
    pytest.importorskip("ray")
    from helpers.ray_nodes import Cluster

    sandbox.cluster = Cluster(sandbox.environment)
    sandbox.ends.callback(sandbox.cluster.stop)
    sandbox.environment |= {"HOME": str(sandbox.cluster.home), "RAY_TMPDIR": str(sandbox.cluster.home)}
    sandbox.cluster.environment["RAY_TMPDIR"] = str(sandbox.cluster.home)
