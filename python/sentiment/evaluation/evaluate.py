"""Testing a network on a list of images, and a run on its fold's test list (§4.1)."""

from pathlib import Path

import numpy as np

from sentiment import engine, paper
from sentiment.data import folds, lists
from sentiment.data.dataset import Dataset
from sentiment.evaluation import inference, predictions, results
from sentiment.evaluation.network import Network
from sentiment.evaluation.predictions import Prediction
from sentiment.evaluation.results import Result
from sentiment.training import runs
from sentiment.training.configuration import Configuration
from sentiment.utils import locks, records
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import sha256
from sentiment.utils.progress import Progress, patience


def predict(
    network: Network, list_path: Path, images: Path, folder: Path, batch: int | None = None, gpu: int | None = None
) -> list[Prediction]:
    """The predictions of a network for the images of a list.

    Parameters
    ----------
    list_path
        Lines of ``name label``.
    images
        The folder the names are relative to.
    folder
        Folder for Caffe's log, test.log.
    batch
        Crops in a forward pass; by default `inference.BATCH`, or `inference.BATCH_GPU` on a GPU.

    Raises
    ------
    UserError
        A file is missing or wrong, or the network does not have two outputs.
    """
    listed = lists.read(list_path)
    caffe = engine.start(gpu)
    folder.mkdir(parents=True, exist_ok=True)
    with stderr_to(folder / "test.log") as terminal, patience(f"reading {network.weights}", terminal):
        net = caffe.Net(str(network.deploy), str(network.weights), caffe.TEST)
    inference.check_outputs(net, network.deploy)
    where = {images / image: f"{list_path}, line {number}" for number, (image, _) in enumerate(listed, start=1)}
    paths = [images / image for image, _ in listed]
    with Progress(f"testing {network.weights}", len(paths), unit="images") as bar:
        warped = inference.warped(net, paths, np.array(network.means), where=where.get)
        batch = batch or (inference.BATCH if gpu is None else inference.BATCH_GPU)
        crops = inference.probabilities(net, warped, batch, done=bar.advance)[:, :, paper.POSITIVE]
    return [
        Prediction(image, label, float(center), float(mean))
        for (image, label), center, mean in zip(listed, crops[:, inference.CENTER], crops.mean(1), strict=True)
    ]


def evaluate(
    run: runs.Run, data: Dataset, splits: Path, batch: int | None = None, gpu: int | None = None
) -> tuple[Result, bool]:
    """The result of a run, and whether this call tested it: a run that is tested already is skipped.

    ``splits`` is the folder of fold lists; ``batch`` is as for `predict`. A `UserError` says that the run's training is
    not complete, or that its test list has changed.
    """
    if found := _recorded(run):
        return found, False
    with locks.held(run.folder, "testing"):
        if found := _recorded(run):  # by another process, while this one waited
            return found, False
        return _test(run, data, splits, batch, gpu), True


def _recorded(run):
    """The recorded result of the run's current weights; None if there is none, or only one of an earlier training."""
    weights = run.weights(run.configuration().schedule.iterations)
    found = results.read(run.result) if run.result.is_file() and run.predictions.is_file() else None
    if not weights.is_file():
        if found is None:
            raise UserError(f"{run.folder}: its training is not complete; run tools/train.py with the same options")
        return found
    # Stretches are compared too, because a run that was trained again may end with the same weights.
    stretches = run.stretches()
    if found and stretches in (None, found.training) and found.weights == sha256(weights):
        return found
    return None


def _test(run, data, splits, batch, gpu):
    config = run.configuration(*records.names(Configuration), runs.STRETCHES)
    folds.read(splits, data.name, run.subset, run.fold)  # refuses lists that are missing or wrong
    test_list = folds.list_path(splits, data.name, run.subset, run.fold, "test")
    if sha256(test_list) != config.test_list:
        raise UserError(f"{test_list} is not the list of {run.folder}: it may name images trained on; restore it")
    network = Network.of_run(run)
    tested = predict(network, test_list, data.images, run.folder, batch, gpu)
    result = Result(
        config=config,
        training=run.stretches(),
        accuracy=predictions.accuracy(tested),
        test_images=len(tested),
        evaluation=engine.environment(gpu),
        weights=sha256(network.weights),
        note=data.note,
    )
    predictions.write(run.predictions, tested)
    results.write(run.result, result)  # last, because its presence means that the other files are complete
    return result
