"""Make the demo's stand-ins for the paper's nine initialisations: about a minute and a half on two CPU cores.

    python tools/demo_sources.py
    python tools/demo_sources.py --init caffenet

Needs the source model that tools/demo.py makes. Each stand-in is a model card in data/demo/models and the files it
names, called as the real ones: INIT=places with DATA=data/demo is the stand-in. Each is trained for a short time on
concepts of its own, from the demo's source model (those of MVSO from DeepSentiBank's). Stand-ins that are there already
are skipped.
"""

from dataclasses import asdict

import yaml

from sentiment import engine, paper
from sentiment.cli import arguments, command
from sentiment.data import dataset, lists
from sentiment.data.means import binaryproto
from sentiment.demo import drawn, stand_ins, training
from sentiment.demo.stand_ins import STAND_INS
from sentiment.sources import cards
from sentiment.utils import files, locks
from sentiment.utils.errors import UserError
from sentiment.utils.progress import duration

MEAN_OF = 500  # images, for a mean image
SEED = 1701
SECONDS = 7  # per stand-in, on two CPU cores


def main(argv=None):
    """Make what is missing."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.folder_options(option, data="data/demo")
    arguments.several_option(option, "init", STAND_INS, "stand-ins to make")
    arguments.gpu_option(option)
    args = parser.parse_args(argv)

    data, models = dataset.load(args.data), args.data / "models"
    source = models / training.SOURCE
    if not source.is_file():
        raise UserError(f"no source model {source}; tools/demo.py makes it")
    made_from = {
        "source": files.sha256(source),
        "iterations": stand_ins.ITERATIONS,
        "base_lr": stand_ins.BASE_LR,
        "seed": SEED,
    }
    wanted = {"caffenet", *args.init, *(STAND_INS[name].parent for name in args.init)}
    recipes = {name: {**made_from, **asdict(one)} for name, one in STAND_INS.items() if name in wanted}
    due = [name for name, recipe in recipes.items() if not is_made(models / f"{name}.json", recipe)]
    print(f"{models}: {len(args.init)} stand-ins, {f'{len(due)} to make' if due else 'all there'}", flush=True)
    if due:
        print(f"about {duration(SECONDS * len(due))} on two CPU cores", flush=True)
    for name in due:
        with locks.held(args.data / "source" / name, "training a stand-in"), locks.held(models, "training stand-ins"):
            if not is_made(models / f"{name}.json", recipes[name]):  # by another process, while this one waited
                make(name, data, args)
                files.write_json(models / f"{name}.json", recipes[name])  # last: it says that all is there


def is_made(path, recipe):
    """Whether a stand-in was made in this way."""
    return path.is_file() and files.read_json(path) == recipe


def make(name, data, args):
    """Make one stand-in: mean, weights, model card."""
    stand_in, model_card = STAND_INS[name], cards.read(name)
    models, source, images = args.data / "models", args.data / "source", args.data / "source" / "images"
    pairs = stand_ins.own_images(stand_in, lists.read(source / "train.txt", len(drawn.CONCEPTS)))

    mean = models / cards.read(name if stand_in.own_mean else "caffenet").mean.path.name
    if name == "caffenet":  # the source model is trained with these means
        files.write_whole(mean, binaryproto(stand_ins.even_image(paper.IMAGENET_MEANS_BGR)))
    elif stand_in.own_mean:
        shown = [images / image for image, _ in pairs[:MEAN_OF]]
        files.write_whole(mean, binaryproto(stand_ins.mean_image(shown)))

    caffe = engine.start(args.gpu)
    parent = cards.read(stand_in.parent, models).file.path if stand_in.parent else models / training.SOURCE
    folder, iterations = source / name, stand_ins.ITERATIONS
    files.write_if_changed(folder / "train.txt", lists.text(pairs))
    batch, divisor = data.setting("batch_size", None), data.setting("channels_divisor", None)
    net = training.template(folder / "train.txt", images, mean, len(stand_in.concepts), batch, divisor)
    trained = training.train(
        caffe, folder, f"training the stand-in {name}", net, args.gpu, parent,
        base_lr=stand_ins.BASE_LR, momentum2=0.999, lr_policy="fixed", max_iter=iterations, snapshot=iterations,
        test_iter=[1], test_interval=iterations + 1, test_initialization=False, random_seed=SEED,
    )  # fmt: skip
    model = caffe.proto.caffe_pb2.NetParameter.FromString(trained.read_bytes())
    files.write_whole(models / model_card.file.path.name, stand_ins.in_form(model, stand_in).SerializeToString())
    trained.unlink()
    title, classes = model_card.title, len(stand_in.concepts)
    text = {
        "title": f"{title} (stand-in)",
        "about": f"Trained for a moment to tell {classes} drawn concepts apart; no real {title}.",
        "file": model_card.file.path.name,
        "mean": {"file": mean.name} if stand_in.own_mean or name == "caffenet" else "caffenet",
        "last_layer": {"name": stand_in.last, "classes": classes},
    }
    files.write_whole(models / f"{name}.yaml", yaml.safe_dump(text, sort_keys=False))


if __name__ == "__main__":
    raise SystemExit(command.run(main))
