"""Make the demo's data and source model: no download, about a minute and a half on two CPU cores.

    python tools/demo.py
    python tools/demo_sources.py

Draws 1,269 pictures with five simulated annotators, laid out as any DATA folder (images/, twitter_<subset>.txt,
dataset.yaml), and pre-trains the source model, a CaffeNet of an eighth of the channels, to name what other drawn
pictures show. What is there already is left alone; training that was stopped goes on from its last snapshot.
"""

import contextlib
import math
import multiprocessing
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import yaml

from sentiment import engine, paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser, card, positive, seed
from sentiment.data import lists
from sentiment.demo import drawn
from sentiment.networks import architectures
from sentiment.utils import locks
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT, read_json, replacing, temporary, write_if_changed, write_json
from sentiment.utils.progress import Progress
from sentiment.utils.signals import end_with_parent, kept_from_children

MODEL = "drawn_concepts"
DIVISOR = 8
BATCH = 64
PICTURES, ITERATIONS, SOURCE_BATCH = 7200, 2800, 16  # of the source task
SNAPSHOT_EVERY = 200
SECONDS_DRAWING, SECONDS_TRAINING = 0.003, 0.06  # a picture, an iteration; on two CPU cores

DATASET = {
    "name": "demo",
    "demo": True,
    "note": "Drawn pictures and simulated annotators, networks of an eighth of the channels",
    "channels_divisor": DIVISOR,
    "batch_size": BATCH,
    "iterations": dict.fromkeys(paper.SUBSETS, 90),
    "stepsize": dict.fromkeys(paper.SUBSETS, 60),
    "base_lr": 0.00003,
}


def main(argv=None):
    """Make what is missing; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--out", type=Path, default=PROJECT / "data" / "demo", help="folder to write to (default: data/demo)")
    option("--seed", type=seed, default=drawn.SEED, help="of pictures and source model (default: %(default)s)")
    option("--gpu", type=card, metavar="N", help="pre-train on this CUDA card (default: CPU)")
    option("--pictures", type=positive, default=PICTURES, help="to pre-train on (default: %(default)s)")
    option("--iterations", type=positive, default=ITERATIONS, help="of pre-training (default: %(default)s)")
    args = parser.parse_args(argv)

    with contextlib.ExitStack() as stack:
        for folder in (args.out, args.out / "source", args.out / "models"):
            stack.enter_context(locks.held(folder, "making the demo"))
        make(args)
    return 0


def make(args):
    """Make what is missing."""
    out, source = args.out, args.out / "source"
    weights = out / "models" / f"{MODEL}.caffemodel"
    claim(out / "demo.json", {"seed": args.seed, "pictures": args.pictures, "iterations": args.iterations})
    scenes, concepts = drawn.scenes(args.seed), drawn.concepts(args.pictures, args.seed)
    wanted: list[list] = [scenes, [] if weights.is_file() else concepts]
    drawings = zip((out / "images", source / "images"), wanted, strict=True)
    due = [(folder, pictures) for folder, pictures in drawings if pictures and not folder.is_dir()]
    seconds = SECONDS_DRAWING * sum(len(pictures) for _, pictures in due)
    seconds += 0 if weights.is_file() else SECONDS_TRAINING * args.iterations
    if seconds:
        print(f"demo data and source model: about {math.ceil(seconds / 10) * 10} s on two CPU cores", flush=True)

    for folder, pictures in due:
        draw(folder, pictures)
    for subset in paper.SUBSETS:
        agreed = [scene for scene in scenes if scene.agreement >= paper.ANNOTATORS[subset]]
        write_if_changed(out / f"twitter_{subset}.txt", list_of(agreed))
    write_if_changed(out / "dataset.yaml", yaml.safe_dump(DATASET, sort_keys=False))
    if not weights.is_file():
        write_if_changed(source / "train.txt", list_of(concepts))
        write_if_changed(source / "classes.txt", "".join(f"{name}\n" for name in drawn.CONCEPTS))
        pretrain(engine.start(args.gpu), source, weights, args)
    print(f"{out}: {len(scenes)} pictures, {weights}")


def claim(path, recipe):
    """Bind the folder to what the demo is made from."""
    if not path.is_file():
        write_json(path, recipe)
    elif read_json(path) != recipe:
        raise UserError(f"{path.parent} holds a demo made with other options; remove it, or give another --out")


def list_of(pictures):
    """Lines of `name label`."""
    return lists.text([(picture.name, picture.label) for picture in pictures])


def draw(folder, pictures):
    """Draw pictures into a folder that appears when all are there."""
    part = temporary(folder)
    part.mkdir()
    try:
        # Spawned, not forked: a fork of a process in which torch has started its threads can hang.
        with kept_from_children():
            pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), end_with_parent)
        with pool, Progress(f"drawing {folder}", len(pictures), unit="pictures") as bar:
            with kept_from_children():  # once more: the pool's helper process has let the signals through
                drawing = pool.map(partial(drawn.save, part), pictures, chunksize=50)
            for _ in drawing:
                bar.advance(1)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def source_net(folder):
    """The source task's net: the CaffeNet template with a class a concept, ready to learn within two minutes.

    Differs from the template in what a short training needs: fillers that keep the scale of the signal from layer to
    layer (the reference model's start on a plateau that takes it thousands of iterations to leave).
    """
    listed = str((folder / "train.txt").resolve())
    images = (folder / "images").resolve()
    net = architectures.train_val(
        "finetune", listed, listed, images, paper.IMAGENET_MEANS_BGR, SOURCE_BATCH, SOURCE_BATCH, DIVISOR, True
    )
    net.name = "DrawnConcepts"
    layers = [layer for layer in net.layer if not any(rule.phase for rule in layer.include)]
    for layer in layers:
        for field in layer.convolution_param, layer.inner_product_param:
            if field.HasField("weight_filler"):
                field.weight_filler.Clear()
                field.weight_filler.type = "msra"
                field.bias_filler.value = 0
        if layer.name == "conv1":  # pixels reach 255; what comes after is to be about 1, and to stay so
            layer.convolution_param.weight_filler.type, layer.convolution_param.weight_filler.std = "gaussian", 0.001
            layer.param[0].lr_mult, layer.param[1].lr_mult = 0.1, 0.2
    last = next(layer for layer in layers if layer.name == paper.NEW_LAYERS["finetune"])
    last.name = last.top[0] = "fc8"
    last.inner_product_param.num_output = len(drawn.CONCEPTS)
    last.inner_product_param.weight_filler.type, last.inner_product_param.weight_filler.std = "gaussian", 0.01
    for rates, factor in zip(last.param, (1, 2), strict=True):
        rates.lr_mult = factor
    next(layer for layer in layers if layer.type == "SoftmaxWithLoss").bottom[0] = "fc8"
    del net.layer[:]
    net.layer.extend(layers)
    return net


def pretrain(caffe, folder, weights, args):
    """Train the source model in its folder and put its weights into a file that appears when they are done."""
    solver = caffe.proto.caffe_pb2.SolverParameter(
        net="train_val.prototxt", type="Adam", base_lr=0.0007, momentum=0.9, momentum2=0.99, weight_decay=0.0005,
        lr_policy="poly", power=1, max_iter=args.iterations, display=10,
        snapshot=SNAPSHOT_EVERY, snapshot_prefix="snapshot", random_seed=args.seed,
        solver_mode=int(args.gpu is not None),
    )  # fmt: skip
    write_if_changed(folder / "train_val.prototxt", str(source_net(folder)))
    write_if_changed(folder / "solver.prototxt", str(solver))
    with engine.working_in(folder), stderr_to("train.log") as terminal:
        solver = caffe.get_solver("solver.prototxt")
        states = sorted(Path().glob("snapshot_iter_*.solverstate"), key=lambda path: int(path.stem.split("_")[-1]))
        if states:
            solver.restore(str(states[-1]))
        with Progress("pre-training the source model", args.iterations, solver.iter, stream=terminal) as bar:
            while solver.iter < args.iterations:
                solver.step(1)
                bar.advance(1, f"loss {float(solver.net.blobs['loss'].data):.3f}")
    with replacing(weights) as part:
        solver.net.save(str(part))
    for path in folder.glob("snapshot_iter_*"):
        path.unlink()


if __name__ == "__main__":
    sys.exit(command.run(main))
