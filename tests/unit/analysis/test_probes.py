"""Linear probes: the net answers as the classifier does, C is chosen without test images, features are the crops'."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import caffe
from sentiment.analysis import probes
from sentiment.evaluation import inference
from sentiment.networks import architectures
from sentiment.utils.errors import UserError

PROBES = [name for name, architecture in architectures.ARCHITECTURES.items() if architecture.fitted]


def made_up(images=60, width=8, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    return random.normal(size=(images, width)).astype(np.float32) + 0.7 * labels[:, None], labels


@pytest.mark.parametrize("arch", PROBES)
def test_the_net_s_probabilities_are_the_classifier_s(tmp_path, arch):
    path = tmp_path / "deploy.prototxt"
    path.write_text(str(architectures.deploy(arch, divisor=4)))
    net, random = caffe.Net(str(path), caffe.TEST), np.random.default_rng(1)
    for blobs in net.params.values():
        fan_in = np.prod(blobs[0].data.shape[1:])
        blobs[0].data[...] = random.normal(0, np.sqrt(2 / fan_in), blobs[0].data.shape)
    new = architectures.ARCHITECTURES[arch].new_layer
    images = random.normal(0, 50, (20, 3, 256, 256)).astype(np.float32)
    found = probes.features(net, new, images, batch=8)
    assert found.shape == (20, net.params[new][0].data.shape[1])
    fitted = probes.classifier(found, np.arange(20) % 2, grid=(1000.0,))
    probes._fill(net, new, fitted)
    answers = inference.probabilities(net, images)[:, inference.CENTER]
    expected = 1 / (1 + np.exp(-(found @ fitted.weights + fitted.intercept)))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(answers[:, 1], expected, atol=1e-5)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-6)


def test_the_classifier_is_scikit_learn_s_on_features_of_unit_mean_squared_norm():
    features, labels = made_up()
    fitted = probes.classifier(features, labels, grid=(3.0,))
    scaled = features * fitted.about.scale
    assert np.square(scaled).sum(1).mean() == pytest.approx(1)
    own = LogisticRegression(C=3.0, tol=1e-8, max_iter=10_000).fit(scaled, labels)
    scores = features @ fitted.weights + fitted.intercept
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), own.predict_proba(scaled)[:, 1], atol=1e-4)
    larger = probes.classifier(features * 100, labels, grid=(3.0,))  # the grid means the same for any network
    np.testing.assert_allclose(larger.weights * 100, fitted.weights, rtol=1e-3)


def test_c_has_the_best_inner_accuracy_and_is_the_smallest_of_several():
    features, labels = made_up()
    about = probes.classifier(features, labels).about
    assert about.inner_accuracy[about.grid.index(about.c)] == max(about.inner_accuracy)
    separate = np.column_stack([2.0 * labels - 1, np.zeros(len(labels))]).astype(np.float32)
    about = probes.classifier(separate, labels, grid=(1.0, 10.0, 100.0)).about
    assert about.inner_accuracy == [1, 1, 1]
    assert about.c == 1


def test_a_class_with_too_few_images_is_refused():
    features, labels = made_up(8)
    with pytest.raises(UserError):
        probes.classifier(features, labels)
