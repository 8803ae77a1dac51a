"""A data set of 25 small pictures, whose nets have a sixteenth of the channels, and weights that nobody trained."""

import cv2
import numpy as np

import caffe
from sentiment import paper
from sentiment.data import lists

DIVISOR = 16


def data_set(folder, name="tiny", subsets=paper.SUBSETS[:1], iterations=6, more=""):
    """Write a DATA folder: blue pictures are negative, red ones positive.

    Returns
    -------
    list of (str, int)
        Names and labels, the same for each subset.
    """
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(1)
    pairs = [(f"picture {index}.jpg", index % 2) for index in range(25)]
    for picture, label in pairs:
        pixels = rng.integers(0, 120, (40, 50, 3), np.uint8)
        pixels[..., 2 * label] += 120
        cv2.imwrite(str(folder / "images" / picture), pixels)
    for subset in subsets:
        (folder / f"twitter_{subset}.txt").write_text(lists.text(pairs))
    settings = f"name: {name}\nchannels_divisor: {DIVISOR}\nbatch_size: 4\niterations: {iterations}\nstepsize: 4\n"
    (folder / "dataset.yaml").write_text(settings + f"base_lr: 0.00001\n{more}")
    return pairs


def weights(definition, path):
    """Write Gaussian weights for a net, its definition beside them as deploy.prototxt."""
    (path.parent / "deploy.prototxt").write_text(definition)
    net = caffe.Net(str(path.parent / "deploy.prototxt"), caffe.TEST)
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        blobs[0].data[...] = rng.normal(0, np.sqrt(2 / blobs[0].data[0].size), blobs[0].data.shape)
    next(iter(net.params.values()))[0].data[...] /= 100  # pixels reach 255; what comes after is about 1
    net.save(str(path))


def weak_set(folder):
    """Write a folder of weakly labelled pictures: those of `data_set`, with a schedule that learns most of them."""
    data_set(folder, "flickr", iterations=60)
    (folder / "twitter_five_agrees.txt").rename(folder / "list.txt")
    described = (folder / "dataset.yaml").read_text()
    (folder / "dataset.yaml").write_text(described.replace("0.00001", "0.001").replace("stepsize: 4", "stepsize: 60"))
