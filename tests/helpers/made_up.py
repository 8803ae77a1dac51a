"""Made-up runs: result.json, predictions.csv and train.log as the tools write them, of nets that were never trained."""

from caffe.proto import caffe_pb2
from sentiment import paper
from sentiment.evaluation import predictions, results
from sentiment.evaluation.predictions import Prediction
from sentiment.training.runs import Run
from sentiment.training.solvers import fold_seed

CHOICES = {
    "variant": "", "precision": "float32", "mean": [104.0, 117.0, 123.0], "mean_image": False, "channels_divisor": 1,
    "batch_size": 256, "base_lr": 0.001, "stepsize": 17, "gamma": 0.1, "momentum": 0.9, "weight_decay": 0.0005,
}  # fmt: skip

ENVIRONMENT = {
    "engine": "pixels-to-sentiment 0.1.0", "project": "0.1.0", "commit": "0123456789" * 4, "device": "Some CPU, AVX2",
    "cuda": "", "threads": 2, "precision": "float32", "versions": {"python": "3.11", "torch": "2.13.0"},
}  # fmt: skip


def result(fold, center, subset="five_agrees", arch="finetune", init="caffenet", demo=False, seed=1, **choices):
    """What one run's result.json says."""
    digits = "0123456789abcdef" * 4
    return {
        "dataset": "drawn" if demo else "deepsent", "demo": demo, "subset": subset, "arch": arch, "init": init,
        "fold": fold, "seed": seed, "accuracy": {"center": center, "oversampled": min(1, center + 0.01)},
        "test_images": 20, "iterations": 60, "fold_seed": fold_seed(seed, fold),
        "training": [{"from_iteration": 0, **ENVIRONMENT}], "evaluation": ENVIRONMENT,
        "hashes": dict.fromkeys(("weights", "source", "mean_file", "train_list", "test_list"), digits),
        "choices": {**CHOICES, **choices},
    }  # fmt: skip


def read(values):
    """The Result of what `result` gives."""
    return results.Result.from_json(values, "made up")


def run(root, fold, right=16, losses=None, **made):
    """Write a run whose net has the first ``right`` of 20 images right, the first 8 of which are positive.

    Returns
    -------
    Run
    """
    row = result(fold, right / 20, **made)
    place = Run(root, row["subset"], row["arch"], row["init"], fold)
    positive = [1] * 8 + [0] * 12
    sure = [label if index < right else 1 - label for index, label in enumerate(positive)]
    tested = [
        Prediction(f"fold{fold}_{index}.jpg", label, 0.9 if answer else 0.1, 0.8 if answer else 0.2)
        for index, (label, answer) in enumerate(zip(positive, sure))
    ]
    row["accuracy"]["oversampled"] = right / 20
    predictions.write(place.predictions, tested)
    results.write(place.result, read(row))
    place.log.write_text(log(falling(60) if losses is None else losses))
    return place


def weights():
    """The smallest file of weights."""
    net = caffe_pb2.NetParameter()
    net.layer.add(name="fc8", type="InnerProduct").blobs.add(data=[1.0]).shape.dim.append(1)
    return net.SerializeToString()


def five(root, **made):
    """Five folds of a net."""
    return [run(root, fold, **made) for fold in paper.FOLDS]


def falling(iterations, final=0.3, speed=8):
    """Losses that fall from guessing's to a final one."""
    return [final + (0.69 - final) * 2 ** (-iteration / speed) for iteration in range(iterations)]


def log(losses, first=0, every=1, old=False):
    """Lines of a Caffe log, of its present or its 2015 form."""
    lines = []
    for number, loss in enumerate(losses):
        iteration = first + number * every
        speed = "" if old else f" (1.5 iter/s, 13.2s/{every} iters)"
        lines += [
            f"I1105 12:00:00.1  99 solver.cpp:239] Iteration {iteration}{speed}, loss = {loss:.6g}",
            f"I1105 12:00:00.1  99 solver.cpp:258]     Train net output #0: loss = {loss:.6g} (* 1 = {loss:.6g} loss)",
            f"I1105 12:00:00.1  99 sgd_solver.cpp:112] Iteration {iteration}, lr = 0.001",
        ]
    return "".join(f"{line}\n" for line in lines)


def layers(init, nested=True, accuracies=None):
    """What the layers.json of five folds says, of one layer, or of those with these mean accuracies."""
    folds = [str(fold) for fold in paper.FOLDS]

    def found(accuracy):
        chosen = {"exponent": dict.fromkeys(folds, -5), "accuracy": dict.fromkeys(folds, accuracy)}
        return {
            "fits": 60, "not_converged": 0, "flat_from": dict.fromkeys(folds, -5),
            "accuracy": {fold: [accuracy] for fold in folds}, "inner": dict.fromkeys(folds),
            **dict.fromkeys(("paper", "nested") if nested else ("paper",), chosen),
        }  # fmt: skip

    return {
        "dataset": "deepsent", "demo": False, "subset": "five_agrees", "arch": "finetune", "init": init, "images": 20,
        "folds": list(paper.FOLDS), "exponents": list(paper.C_GRID_EXPONENTS), "inner_folds": 5, "mean_way": "image",
        "classifiers": {}, "engine": "", "versions": {}, "weights": dict.fromkeys(folds, "w"),
        "layers": {
            name: {"features": 9, "svm": found(accuracy), "softmax": found(accuracy)}
            for name, accuracy in (accuracies or {"norm2": 0.8}).items()
        },
    }  # fmt: skip
