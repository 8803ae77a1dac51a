"""Make the demo's stand-ins for the paper's nine initialisations: about a minute and a half on two CPU cores.

    python tools/demo_sources.py
    python tools/demo_sources.py --init caffenet

tools/demo.py comes first. Each stand-in goes to data/demo/models, a card and the files it names, as the real one's are
called; INIT=places with DATA=data/demo is the stand-in. Each is trained on from the demo's source model (MVSO's from
DeepSentiBank's) for a short time, on concepts of its own. What is there already is left alone.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import yaml

from sentiment import engine, paper
from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option
from sentiment.data import dataset, lists
from sentiment.demo import drawn, stand_ins, training
from sentiment.demo.stand_ins import STAND_INS
from sentiment.sources import cards
from sentiment.utils import files, locks
from sentiment.utils.errors import UserError
from sentiment.utils.progress import duration

MEAN_OF = 500  # pictures, for a mean image
SEED = 1701
SECONDS = 7  # a stand-in, on two CPU cores


def main(argv=None):
    """Make what is missing; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--data", type=Path, default=files.PROJECT / "data" / "demo", help="the demo's folder (default: data/demo)")
    option("--init", nargs="+", choices=STAND_INS, default=list(STAND_INS), help="which (default: all nine)")
    gpu_option(option)
    args = parser.parse_args(argv)

    data, models = dataset.load(args.data), args.data / "models"
    source = models / training.SOURCE
    if not source.is_file():
        raise UserError(f"no source model {source}; tools/demo.py makes it")
    recipe = {
        "source": files.sha256(source),
        "iterations": stand_ins.ITERATIONS,
        "base_lr": stand_ins.BASE_LR,
        "seed": SEED,
    }
    recipes = {name: {**recipe, **described(name)} for name in wanted(args.init)}
    due = [name for name in recipes if not is_there(models / f"{name}.json", recipes[name])]
    print(f"{models}: {len(args.init)} stand-ins" + (f", {len(due)} to make" if due else ", all there"), flush=True)
    if due:
        print(f"about {duration(SECONDS * len(due))} on two CPU cores", flush=True)
    for name in due:
        with locks.held(args.data / "source" / name, "training a stand-in"), locks.held(models, "training stand-ins"):
            if not is_there(models / f"{name}.json", recipes[name]):  # made by another process, while this one waited
                make(name, data, args)
                files.write_json(models / f"{name}.json", recipes[name])  # last: it says that all is there
    return 0


def wanted(names):
    """Stand-ins by name, with those they are trained on from."""
    parents = {STAND_INS[name].parent for name in names}
    return [name for name in STAND_INS if name in {"caffenet", *names, *parents}]


def described(name):
    """A stand-in as JSON has it."""
    return {**asdict(STAND_INS[name]), "concepts": list(STAND_INS[name].concepts)}


def is_there(made, recipe):
    """Whether a stand-in was made from this source in this way."""
    return made.is_file() and files.read_json(made) == recipe


def make(name, data, args):
    """Make one stand-in: weights, mean, card."""
    stand_in, card, models = STAND_INS[name], cards.read(name), args.data / "models"
    mean = models / cards.read(name if stand_in.own_mean else "caffenet").mean.path.name
    source = args.data / "source"
    pairs = stand_ins.pictures(stand_in, lists.read(source / "train.txt", len(drawn.CONCEPTS)))
    if name == "caffenet":  # tools/demo.py trains with these means
        files.write_whole(mean, stand_ins.binaryproto(stand_ins.even_image(paper.IMAGENET_MEANS_BGR)))
    elif stand_in.own_mean:
        shown = [source / "images" / image for image, _ in pairs[:MEAN_OF]]
        files.write_whole(mean, stand_ins.binaryproto(stand_ins.mean_image(shown)))
    model = train(engine.start(args.gpu), name, pairs, mean, data, args)
    files.write_whole(models / card.file.path.name, stand_ins.in_form(model, stand_in).SerializeToString())
    text = {
        "title": f"{card.title} (stand-in)",
        "about": f"Trained for a moment to tell {len(stand_in.concepts)} drawn concepts apart; no real {card.title}.",
        "file": card.file.path.name,
        "mean": {"file": mean.name} if stand_in.own_mean or name == "caffenet" else "caffenet",
        "last_layer": {"name": stand_in.last, "classes": len(stand_in.concepts)},
    }
    files.write_whole(models / f"{name}.yaml", yaml.safe_dump(text, sort_keys=False))


def train(caffe, name, pairs, mean, data, args):
    """Train a stand-in from its parent; returns its model."""
    stand_in, models, folder = STAND_INS[name], args.data / "models", args.data / "source" / name
    parent = cards.read(stand_in.parent, models).file.path if stand_in.parent else models / training.SOURCE
    listed, images = folder / "train.txt", args.data / "source" / "images"
    batch, divisor = data.setting("batch_size", None), data.setting("channels_divisor", None)
    net = training.template(listed, images, mean, len(stand_in.concepts), batch, divisor)
    files.write_if_changed(listed, lists.text(pairs))
    iterations = stand_ins.ITERATIONS
    weights = training.train(
        caffe, folder, f"training the stand-in {name}", net, args.gpu, parent,
        base_lr=stand_ins.BASE_LR, momentum2=0.999, lr_policy="fixed", max_iter=iterations, snapshot=iterations,
        test_iter=[1], test_interval=iterations + 1, test_initialization=False, random_seed=SEED,
    )  # fmt: skip
    model = caffe.proto.caffe_pb2.NetParameter.FromString(weights.read_bytes())
    weights.unlink()
    return model


if __name__ == "__main__":
    sys.exit(command.run(main))
