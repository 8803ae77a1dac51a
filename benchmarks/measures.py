"""What is measured: each function runs its ways of doing a thing in turn and yields rows for the table.

A row is a dict: what, ours, against, theirs, unit, ratio (ours over theirs in time or memory: below 1 we are better),
and bar where there is one to hold.
"""

import contextlib
import itertools
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "2")

import cv2
import growth
import numpy as np
import torch
from handwritten import NETS, Linear, Predictor, Trainer
from torch import nn

import caffe
from caffe.runtime import mode
from sentiment import paper
from sentiment.evaluation import inference
from sentiment.networks import architectures, definitions, surgery

CROP, MAP = paper.CROP, paper.MAP_INPUT
BATCH = 32
FOLD = 176  # test images of a fold of five-agree
TINY = (10, 20, 20, 3)  # widths of a perceptron
WARM_UP = 3  # turns that do not count: until then the heap grows
_SAME = "hand-written PyTorch with this engine's products"
BVLC_GB = {"finetune": 1.1, "squeezenet": 2.2, "googlenet": 2.6}  # peak memory of BVLC Caffe's training, 32 images


def machine(gpu):
    """What this is measured on."""
    names = (
        re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if os.path.exists("/proc/cpuinfo") else []
    )
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "card": torch.cuda.get_device_name(gpu) if gpu is not None else "none",
        "load": f"{os.getloadavg()[0]:.1f} before the start",
    }


def in_turn(ways, rounds, gpu=None, warm_up=1):
    """Median seconds of each way, {name: callable} taking turns; the first ones do not count."""
    times = {name: [] for name in ways}
    for turn in range(rounds + warm_up):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if gpu is not None:
                torch.cuda.synchronize(gpu)
            if turn >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def row(what, ours, against, theirs, unit="s", **more):
    """One row; ``ours`` and ``theirs`` are quantities of which less is better."""
    return {
        "what": what,
        "ours": ours,
        "against": against,
        "theirs": theirs,
        "unit": unit,
        "ratio": ours / theirs,
        **more,
    }


def _device(gpu):
    if gpu is None:
        caffe.set_mode_cpu()
        return torch.device("cpu")
    caffe.set_device(gpu)
    caffe.set_mode_gpu()
    return torch.device("cuda", gpu)


def _deploy(batch, arch="finetune", side=None, convolutional=False):
    """A net for inference with random weights and input."""
    side = side or architectures.ARCHITECTURES[arch].input_size
    definition = architectures.deploy(arch)
    if convolutional:
        definition = surgery.convert(definition, (side, side)).net
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "deploy.prototxt")
        path.write_text(str(definition))
        net = caffe.Net(str(path), caffe.TEST)
    net.blobs["data"].reshape(batch, 3, side, side)
    net.reshape()
    _randomize(net)
    return net


def _randomize(net):
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        values = rng.standard_normal(blobs[0].data.shape, np.float32)
        blobs[0].data[...] = values * np.float32(np.sqrt(2 / values[0].size))
    next(iter(net.params.values()))[0].data[...] /= 100


def _images(count, side=CROP):
    return np.random.default_rng(1).uniform(-120, 120, (count, 3, side, side)).astype(np.float32)


def _solver(folder, batch, arch="finetune", fill=False):
    """A solver of the paper's fine-tuning on images that stay in memory; with ``fill`` every layer has a filler."""
    lists = architectures.ImageLists("train.txt", "test.txt", "images", paper.IMAGENET_MEANS_BGR, batch, batch)
    net, side = architectures.train_val(arch, lists, scratch=fill), architectures.ARCHITECTURES[arch].input_size
    layers = [layer for layer in net.layer if layer.type != "ImageData" and not any(r.phase for r in layer.include)]
    del net.layer[:]
    data = net.layer.add(name="data", type="Input", top=["data", "label"])
    data.input_param.shape.add(dim=[batch, 3, side, side])
    data.input_param.shape.add(dim=[batch])
    net.layer.extend(layers)
    Path(folder, "train_val.prototxt").write_text(str(net))
    Path(folder, "solver.prototxt").write_text(
        f'net: "{folder}/train_val.prototxt" base_lr: 1e-6 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 '
        "snapshot_after_train: false"
    )
    solver = caffe.SGDSolver(f"{folder}/solver.prototxt")
    _randomize(solver.net)
    solver.net.blobs["data"].data[...] = _images(batch, side)
    solver.net.blobs["label"].data[...] = np.arange(batch) % 2
    return solver


def _trainer(device, batch, arch="finetune", net=None, **ways):
    images = torch.from_numpy(_images(batch, architectures.ARCHITECTURES[arch].input_size))
    return Trainer(net or NETS[arch](), images.to(device), (torch.arange(batch) % 2).to(device), **ways)


def _step_flops(batch):
    """Floating-point operations of a training step: forward, backward to weights, and to all inputs but the images."""
    net = _deploy(1)
    forward = definitions.multiply_adds(net)
    conv1 = 96 * 55 * 55 * 363
    return 2 * batch * (3 * forward - conv1)


def step(rounds, gpu):
    """A training step of each architecture against the hand-written one; CaffeNet's also against matrix products.

    On a CPU CaffeNet's hand-written net also has this engine's products. On a GPU CaffeNet's step is measured in each
    precision, and the hand-written net uses the faster of two layouts.
    """
    device = _device(gpu)
    layouts = [torch.channels_last] if gpu is None else [torch.channels_last, torch.contiguous_format]
    for arch in NETS:
        caffenet = arch == "finetune"
        batch = BATCH if gpu is None or not caffenet else paper.BATCH_SIZE
        for precision in mode.PRECISIONS[: None if caffenet and gpu is not None else 1]:
            with _precision(precision, gpu), tempfile.TemporaryDirectory() as folder:
                half = precision == "bf16"
                solver = _solver(folder, batch, arch)
                ways = {layout: _trainer(device, batch, arch, layout=layout, half=half) for layout in layouts}
                ways["ours"] = lambda solver=solver: solver.step(1)
                if caffenet:
                    if gpu is None:
                        ways["same"] = _trainer(device, batch, net=NETS[arch](linear=Linear))
                    a = torch.rand(4096, 4096, device=device, dtype=torch.bfloat16 if half else torch.float32)
                    ways["matmul"] = lambda a=a: a @ a
                found = in_turn(ways, rounds, gpu, WARM_UP)
            what = f"training step of {arch}, {batch} images" + ("" if gpu is None else f", {precision}")
            bar = "≤ 1.05" if gpu is None else "≤ 1.11"
            yield row(what, found["ours"], "hand-written PyTorch", min(found[layout] for layout in layouts), bar=bar)
            if "same" in found:
                yield row(what, found["ours"], _SAME, found["same"], bar=bar)
            if caffenet:
                flops, size = _step_flops(batch), 2 * 4096**3
                ceiling = flops * found["matmul"] / size
                yield row(what, found["ours"], f"{flops / 1e9:.0f} GFLOP at the matmul rate", ceiling)
                if precision == "float32":
                    yield from _against_bvlc(what, found["ours"], "Average Forward-Backward", batch, gpu)


@contextlib.contextmanager
def _precision(name, gpu):
    """Products in a precision, the hand-written net's too."""
    os.environ[mode.PRECISION] = name
    _device(gpu)
    try:
        yield
    finally:
        del os.environ[mode.PRECISION]
        _device(gpu)


def forward(rounds, gpu):
    """Inference on a batch against PyTorch, and CaffeNet's against OpenCV, and BVLC Caffe where there is one."""
    device = _device(gpu)
    for arch in NETS:
        net, images = _deploy(BATCH, arch), _images(BATCH, architectures.ARCHITECTURES[arch].input_size)
        net.blobs["data"].data[...] = images
        given = torch.from_numpy(images).to(device)
        ways = {"ours": net.forward, "hand": Predictor(NETS[arch](), given)}
        compared = gpu is None and arch == "finetune"
        if compared:
            ways["same"] = Predictor(NETS[arch](linear=Linear), given)
        found = in_turn(ways, rounds, gpu, WARM_UP)
        what = f"forward of {arch}, {BATCH} images"
        yield row(what, found["ours"], "hand-written PyTorch", found["hand"], bar="≤ 1.10")
        if compared:
            yield row(what, found["ours"], _SAME, found["same"], bar="≤ 1.10")
            # by itself, because OpenCV's threads go on for a while after it
            found |= in_turn({"opencv": _opencv(net, images)}, rounds)
            yield row(what, found["ours"], "OpenCV dnn", found["opencv"])
        if arch == "finetune":
            yield from _against_bvlc(what, found["ours"], "Average Forward pass", BATCH, gpu)


def _opencv(net, images):
    """OpenCV's forward pass of CaffeNet with these weights."""
    with tempfile.TemporaryDirectory() as folder:
        net.save(f"{folder}/w.caffemodel")
        Path(folder, "d.prototxt").write_text(str(architectures.deploy("finetune")))
        other = cv2.dnn.readNetFromCaffe(f"{folder}/d.prototxt", f"{folder}/w.caffemodel")
    return lambda: (other.setInput(images), other.forward())


def tiny(rounds, gpu):
    """A forward pass of a three-layer perceptron on one vector: the engine's own time, without arithmetic."""
    device = _device(gpu)
    layers = [f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: {TINY[0]} }} }} }}']
    bottom = "data"
    for number, width in enumerate(TINY[1:], 1):
        layers.append(
            f'layer {{ name: "fc{number}" type: "InnerProduct" bottom: "{bottom}" top: "fc{number}" '
            f'inner_product_param {{ num_output: {width} weight_filler {{ type: "xavier" }} }} }}'
        )
        bottom = f"fc{number}"
        if number < len(TINY) - 1:
            layers.append(f'layer {{ name: "relu{number}" type: "ReLU" bottom: "{bottom}" top: "{bottom}" }}')
    layers.append(f'layer {{ name: "prob" type: "Softmax" bottom: "{bottom}" top: "prob" }}')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tiny.prototxt")
        path.write_text("\n".join(layers))
        net = caffe.Net(str(path), caffe.TEST)
    pairs = [nn.Sequential(nn.Linear(n, m), nn.ReLU()) for n, m in itertools.pairwise(TINY)]
    hand, vector = nn.Sequential(*pairs).to(device).eval(), torch.zeros(1, TINY[0], device=device)

    def many(way):
        for _ in range(1000):
            way()

    @torch.inference_mode()
    def by_hand():
        return torch.softmax(hand(vector), 1)

    found = in_turn({"ours": lambda: many(net.forward), "hand": lambda: many(by_hand)}, 3 * rounds, gpu)
    ours, theirs = (1000 * found[name] for name in ("ours", "hand"))
    yield row("forward of a perceptron", ours, "hand-written PyTorch", theirs, "µs", bar="≤ 40 µs")


def _against_bvlc(what, ours, label, batch, gpu):
    """BVLC's own `caffe time`, where CAFFE_BIN names it."""
    program = os.environ.get("CAFFE_BIN")
    if not program:
        return
    with tempfile.TemporaryDirectory() as folder:
        definition = architectures.deploy("finetune")
        definition.layer[0].input_param.shape[0].dim[0] = batch
        model = Path(folder, "d.prototxt")
        model.write_text(str(definition))
        command = [program, "time", "-model", model, "-iterations", "5", *([] if gpu is None else ["-gpu", str(gpu)])]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    yield row(what, ours, "BVLC caffe time", float(re.search(rf"{label}: ([\d.]+) ms", log)[1]) / 1000)


def ten_crop(rounds, gpu):
    """Evaluating a fold's images, files and all, against the bare forward passes of its crops."""
    _device(gpu)
    batch = inference.BATCH if gpu is None else inference.BATCH_GPU
    net = _deploy(batch)
    count = FOLD if gpu is None else 2 * FOLD
    with tempfile.TemporaryDirectory() as folder:
        paths = _photographs(folder, count)

        def evaluate():
            images = inference.warped(net, paths, np.array(paper.IMAGENET_MEANS_BGR))
            inference.probabilities(net, images, batch)

        def bare():
            net.blobs["data"].reshape(batch, 3, CROP, CROP)
            for _ in range(count * inference.CROPS // batch):
                net.forward()[net.outputs[0]].sum()

        found = in_turn({"ours": evaluate, "bare": bare}, max(1, rounds // 3), gpu)
    yield row(
        f"ten-crop evaluation, {count} images", found["ours"], "its forward passes alone", found["bare"], bar="≤ 1.08"
    )


def _photographs(folder, count):
    """JPEG files of a photograph's usual size and noise."""
    rng = np.random.default_rng(2)
    paths = [Path(folder, f"{number}.jpg") for number in range(count)]
    for path in paths:
        small = rng.integers(0, 255, (30, 40, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(small, (500, 375), interpolation=cv2.INTER_CUBIC))
    return paths


def sentiment_map(rounds, gpu):
    """A map against one prediction, a batch of one both ways."""
    _device(gpu)
    ways = _deploy(1, side=MAP, convolutional=True), _deploy(1)
    found = in_turn(dict(zip(("ours", "one"), (net.forward for net in ways))), 3 * rounds, gpu)
    sums = [definitions.multiply_adds(net) for net in ways]
    yield row(
        "a map (451)", found["ours"], "one prediction", found["one"], bar=f"{sums[0] / sums[1]:.1f} in arithmetic"
    )


def weights(rounds, gpu):
    """Weights into a net against reading their file."""
    _device(gpu)
    net = _deploy(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "w.caffemodel")
        net.save(str(path))
        found = in_turn({"ours": lambda: net.copy_from(str(path)), "file": path.read_bytes}, rounds)
        megabytes = path.stat().st_size / 1e6
    yield row(f"weights of {megabytes:.0f} MB", found["ours"], "reading the file", found["file"])


def start(rounds, gpu):
    """A net of a definition that fills all its layers, and a training, each with weights loaded from a file."""
    _device(gpu)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "source.caffemodel")
        _deploy(1).save(str(path))
        solver = _solver(folder, 8, fill=True)

        def created():
            caffe.Net(f"{folder}/train_val.prototxt", caffe.TRAIN).copy_from(str(path))

        def ready():
            caffe.SGDSolver(f"{folder}/solver.prototxt").net.copy_from(str(path))

        ways = {"created": created, "ready": ready, "step": lambda: solver.step(1)}
        found = in_turn(ways, max(1, rounds // 2), gpu)
    yield row(
        "CaffeNet created, its weights loaded", found["created"], "a step of 8 images", found["step"], bar="≤ 0.8 s"
    )
    yield row("a training made ready", found["ready"], "a step of 8 images", found["step"], bar="< 3 s")


def data(rounds, gpu):
    """A batch from image files, decoded for the first time and later, against a training step."""
    _device(gpu)
    with tempfile.TemporaryDirectory() as folder:
        paths = _photographs(folder, 4 * BATCH)
        Path(folder, "list.txt").write_text("".join(f"{path} {number % 2}\n" for number, path in enumerate(paths)))
        Path(folder, "net.prototxt").write_text(
            f'layer {{ name: "data" type: "ImageData" top: "data" top: "label" transform_param {{ mirror: true '
            f"crop_size: {CROP} mean_value: 104 mean_value: 117 mean_value: 123 }} image_data_param {{ "
            f'source: "{folder}/list.txt" batch_size: {BATCH} shuffle: true new_height: 256 new_width: 256 }} }}'
        )
        net = caffe.Net(str(Path(folder, "net.prototxt")), caffe.TRAIN)
        beginning = time.perf_counter()
        for _ in range(4):
            net.forward()
        first = (time.perf_counter() - beginning) / 4
        solver = _solver(folder, BATCH)
        found = in_turn({"ours": net.forward, "step": lambda: solver.step(1)}, rounds, gpu)
        later = in_turn({"ours": net.forward}, 3 * rounds)["ours"]
    what = f"a batch of {BATCH} from files"
    yield row(f"{what}, first epoch", first, "training step", found["step"])
    yield row(f"{what}, later, nothing beside it", later, "training step", found["step"])
    yield row(f"{what}, made during a step", found["ours"], "training step", found["step"])


def imports(rounds, gpu):
    """`import caffe` against `import torch`."""

    def fresh(code):
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)

    found = in_turn({"ours": lambda: fresh("import caffe"), "torch": lambda: fresh("import torch")}, rounds)
    yield row("import caffe", found["ours"], "import torch", found["torch"], bar="≤ 0.15 s more")


def memory(rounds, gpu):
    """The peak memory of a process that trains each architecture on a CPU, against a hand-written one's and BVLC's."""
    for arch in NETS:
        peaks = {"ours": [], "hand": []}
        for _ in range(max(1, rounds // 2)):
            for way, found in peaks.items():
                command = [sys.executable, __file__, way, arch]
                told = subprocess.run(command, check=True, cwd=Path(__file__).parent, capture_output=True, text=True)
                found.append(float(told.stdout) * 2**20 / 1e9)
        ours, hand = (statistics.median(found) for found in peaks.values())
        what = f"peak memory of training {arch}, {BATCH} images"
        yield row(what, ours, "hand-written PyTorch", hand, "GB", bar="≤ 1.25")
        yield row(what, ours, "BVLC Caffe, measured once", BVLC_GB[arch], "GB", bar="≤ 1.3")


def _train_alone(way, arch):
    with tempfile.TemporaryDirectory() as folder:
        if way == "hand":
            step = _trainer(torch.device("cpu"), BATCH, arch)
        else:
            solver = _solver(folder, BATCH, arch)
            step = lambda: solver.step(1)  # noqa: E731
        for _ in range(WARM_UP + 2):
            step()
    print(growth.memory("VmHWM"))  # rusage would count the memory of the process this one was forked from


if __name__ == "__main__":
    _train_alone(*sys.argv[1:])
