"""Make the demo's data and source model: no download, about a minute and a half on two CPU cores.

    python tools/demo.py
    python tools/demo_sources.py

Draws 1,269 images with five simulated annotators, laid out as any DATA folder (images/, twitter_<subset>.txt,
dataset.yaml), and trains the source model, a CaffeNet of an eighth of the channels, to classify other drawn images.
What is there already is skipped; a training that was stopped resumes from its last snapshot.
"""

import contextlib
import math

import yaml

from sentiment import engine, paper
from sentiment.cli import arguments, command
from sentiment.data import lists
from sentiment.demo import drawn, training
from sentiment.utils import locks
from sentiment.utils.errors import UserError
from sentiment.utils.files import read_json, write_if_changed, write_json, write_whole

IMAGES, ITERATIONS = 7200, 2800  # of the source task
SECONDS_DRAWING, SECONDS_TRAINING = 0.003, 0.06  # an image, an iteration; on two CPU cores
DATASET = {
    "name": "demo",
    "demo": True,
    "note": "Drawn pictures and simulated annotators, networks of an eighth of the channels",
    "channels_divisor": training.DIVISOR,
    "batch_size": 64,
    "iterations": dict.fromkeys(paper.SUBSETS, 90),
    "stepsize": dict.fromkeys(paper.SUBSETS, 60),
    "base_lr": 0.00003,
}


def main(argv=None):
    """Make what is missing."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.folder_options(option, out="data/demo")
    arguments.seed_option(option, "random seed of images and training", drawn.SEED)
    arguments.gpu_option(option)
    arguments.count_option(option, "pictures", "images to train on", IMAGES)
    arguments.count_option(option, "iterations", "iterations to train", ITERATIONS)
    args = parser.parse_args(argv)

    with contextlib.ExitStack() as stack:
        for folder in (args.out, args.out / "source", args.out / "models"):
            stack.enter_context(locks.held(folder, "making the demo"))
        make(args)


def make(args):
    """Make what is missing."""
    out, source, weights = args.out, args.out / "source", args.out / "models" / training.SOURCE
    recipe = {"seed": args.seed, "pictures": args.pictures, "iterations": args.iterations}
    if not (out / "demo.json").is_file():
        write_json(out / "demo.json", recipe)
    elif read_json(out / "demo.json") != recipe:
        raise UserError(f"{out} holds a demo made with other options; remove it, or give another --out")

    scenes, concepts = drawn.scenes(args.seed), drawn.concepts(args.pictures, args.seed)
    to_train = not weights.is_file()
    to_draw = {} if (out / "images").is_dir() else {out / "images": scenes}
    if to_train and not (source / "images").is_dir():
        to_draw[source / "images"] = concepts
    seconds = SECONDS_DRAWING * sum(map(len, to_draw.values())) + SECONDS_TRAINING * args.iterations * to_train
    if seconds:
        print(f"demo data and source model: about {math.ceil(seconds / 10) * 10} s on two CPU cores", flush=True)

    for folder, images in to_draw.items():
        drawn.save_all(folder, images)
    for subset in paper.SUBSETS:
        agreed = [(scene.name, scene.label) for scene in scenes if scene.agreement >= paper.ANNOTATORS[subset]]
        write_if_changed(out / f"twitter_{subset}.txt", lists.text(agreed))
    write_if_changed(out / "dataset.yaml", yaml.safe_dump(DATASET, sort_keys=False))
    if to_train:
        listed = [(concept.name, concept.label) for concept in concepts]
        write_if_changed(source / "train.txt", lists.text(listed))
        write_if_changed(source / "classes.txt", "".join(f"{name}\n" for name in drawn.CONCEPTS))
        trained = training.train(
            engine.start(args.gpu), source, "pre-training the source model", training.source_net(source), args.gpu,
            base_lr=0.0007, momentum2=0.99, weight_decay=0.0005, lr_policy="poly", power=1,
            max_iter=args.iterations, snapshot=200, random_seed=args.seed,
        )  # fmt: skip
        write_whole(weights, trained.read_bytes())
        trained.unlink()
    print(f"{out}: {len(scenes)} images, {weights}")


if __name__ == "__main__":
    raise SystemExit(command.run(main))
