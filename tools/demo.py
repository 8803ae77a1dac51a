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
from sentiment.cli.arguments import Parser, gpu_option, positive, seed
from sentiment.data import lists
from sentiment.demo import drawn, training
from sentiment.utils import locks
from sentiment.utils.errors import UserError
from sentiment.utils.files import PROJECT, read_json, temporary, write_if_changed, write_json, write_whole
from sentiment.utils.progress import Progress
from sentiment.utils.signals import end_with_parent, kept_from_children

BATCH = 64
PICTURES, ITERATIONS = 7200, 2800  # of the source task
SNAPSHOT_EVERY = 200
SECONDS_DRAWING, SECONDS_TRAINING = 0.003, 0.06  # a picture, an iteration; on two CPU cores

DATASET = {
    "name": "demo",
    "demo": True,
    "note": "Drawn pictures and simulated annotators, networks of an eighth of the channels",
    "channels_divisor": training.DIVISOR,
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
    gpu_option(option)
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
    weights = out / "models" / training.SOURCE
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


def pretrain(caffe, folder, weights, args):
    """Train the source model in its folder and put its weights into a file that appears when they are done."""
    made = training.train(
        caffe, folder, "pre-training the source model", training.source_net(folder), args.gpu,
        base_lr=0.0007, momentum2=0.99, weight_decay=0.0005, lr_policy="poly", power=1, max_iter=args.iterations,
        snapshot=SNAPSHOT_EVERY, random_seed=args.seed,
    )  # fmt: skip
    write_whole(weights, made.read_bytes())
    made.unlink()


if __name__ == "__main__":
    sys.exit(command.run(main))
