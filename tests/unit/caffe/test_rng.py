import json
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe.errors import CaffeError
from caffe.random import rng, ziggurat
from caffe.random.rng import (
    CRand,
    Stream,
    bernoulli,
    gaussian,
    global_stream,
    keep_mask,
    set_random_seed,
    shuffled,
    uniform,
)
from helpers.layer_checks import examples

f32 = np.float32


class Script:
    """A stream of given words, and common ones after them."""

    def __init__(self, words):
        self.all = np.concatenate([np.array(words, np.uint32), Stream(0).words(5000)])
        self.at = 0

    def word(self):
        return int(self.words(1)[0])

    def words(self, n):
        self.at += n
        return self.all[self.at - n : self.at]

    def mark(self):
        return self.at

    def rewind(self, mark):
        self.at = mark


def plain_tables(count, r, area, f, inverse):
    x = [area / f(r), r]
    for _ in range(count - 2):
        x.append(inverse(f(x[-1]) + area / x[-1]))
    return [*x, 0.0], [0.0, *map(f, x[1:]), 1.0]


R = 3.442619855896652
NORMAL = plain_tables(
    128,
    R,
    R * math.exp(-R * R / 2) + math.sqrt(math.pi / 2) * math.erfc(R / math.sqrt(2)),
    lambda x: math.exp(-x * x / 2),
    lambda y: math.sqrt(-2 * math.log(y)),
)
E = 7.69711747013105
EXPONENTIAL = plain_tables(256, E, (E + 1) * math.exp(-E), lambda x: math.exp(-x), lambda y: -math.log(y))


def plain_normal(stream):
    """One number at a time, straight from the description of Boost's algorithm."""
    x, y = NORMAL
    while True:
        word = stream.word()
        sign, layer = (1 if word & 1 else -1), word >> 1 & 127
        value = f32(word >> 8) * f32(2**-24) * f32(x[layer])
        if float(value) < x[layer + 1]:
            return sign * value
        if layer == 0:
            return sign * plain_tail(stream)
        height = f32(y[layer]) + plain_unit(stream) * f32(y[layer + 1] - y[layer])
        if height < f32(math.exp(float(-value * value / f32(2)))):
            return sign * value


def plain_tail(stream):
    while True:
        a = plain_exponential(stream) / f32(R)
        b = plain_exponential(stream)
        if f32(2) * b > a * a:
            return a + f32(R)


def plain_exponential(stream):
    x, y = EXPONENTIAL
    shift = f32(0)
    while True:
        word = stream.word()
        layer = word & 255
        value = f32(word >> 8) * f32(2**-24) * f32(x[layer])
        if value < f32(x[layer + 1]):
            return shift + value
        if layer == 0:
            shift = shift + f32(x[1])
            continue
        height = f32(y[layer]) + plain_unit(stream) * f32(y[layer + 1] - y[layer])
        if height < f32(math.exp(-float(value))):
            return shift + value


def plain_unit(stream):
    while True:
        value = f32(stream.word()) / f32(2**32)
        if value < 1:
            return value


def digest(array):
    flat = np.asarray(array, np.float64).ravel()
    ramp = np.cos(np.arange(flat.size) * 0.7310585786)
    return np.array([flat.size, flat.sum(), np.abs(flat).sum(), (flat * flat).sum(), (flat * ramp).sum()])


def test_words_are_those_of_the_standard_twister():
    # the C++ standard's check value: the 10000th word of the default seed
    stream = Stream(5489)
    assert stream.words(9999)[0] == 3499211612
    assert stream.word() == 4123659995


def test_seed_counts_modulo_two_to_the_32():
    assert Stream(2**32 + 7).word() == Stream(7).word()


def test_state_survives_json_and_a_copy_goes_its_own_way():
    stream = Stream(3)
    stream.words(1000)
    saved = json.loads(json.dumps(stream.state()))
    twin = rng.copied(stream)
    ahead = stream.words(700)
    assert np.array_equal(twin.words(700), ahead)
    other = Stream(0)
    other.set_state(saved)
    assert np.array_equal(other.words(700), ahead)


def test_global_stream_is_one_per_thread_and_seeded_by_chance_until_told():
    set_random_seed(11)
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(global_stream().word())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen[0] != seen[1]
    assert global_stream().word() == Stream(11).word()


CALLS = st.tuples(st.sampled_from(["words", "words_ahead", "word", "mark", "state"]), st.integers(0, 700))


@given(st.lists(CALLS, max_size=12))
@examples(60)
def test_words_drawn_ahead_are_those_drawn_in_time(calls):
    plain, ahead = Stream(7), Stream(7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rng, "BLOCK", 150)
        for call, n in calls:
            if call == "word":
                assert ahead.word() == plain.word()
            elif call == "mark":
                mark = ahead.mark()
                ahead.words_ahead(n)
                ahead.rewind(mark)
            elif call == "state":
                assert ahead.state() == plain.state()
            else:
                np.testing.assert_array_equal(getattr(ahead, call)(n), plain.words(n))


@pytest.mark.parametrize(("seed", "n"), [(1, 30000), (2, 1), (3, 0), (4, 17)])
def test_gaussian_equals_one_at_a_time_and_stops_at_the_same_word(seed, n):
    ours, plain = Stream(seed), Stream(seed)
    expected = np.array([plain_normal(plain) for _ in range(n)], f32)
    assert np.array_equal(gaussian(ours, n, 0, 1), expected)
    assert ours.word() == plain.word()


@pytest.mark.parametrize("block", [50, 700])
def test_gaussians_that_follow_each_other_read_in_blocks(block, monkeypatch):
    monkeypatch.setattr(ziggurat, "_BLOCK", block)
    ours, plain = Stream(3), Stream(3)
    for n in (block - 1, block, 9 * block + 1, 1, 20 * block):
        assert np.array_equal(gaussian(ours, n, 0, 1), np.array([plain_normal(plain) for _ in range(n)], f32))
        assert ours.state() == plain.state()


# words that often begin a rejection, a tail, or are a uniform to be redrawn
AWKWARD = st.one_of(
    st.integers(0, 2**32 - 1),
    st.builds(lambda high, low: high << 8 | low, st.integers(2**24 - 2**18, 2**24 - 1), st.integers(0, 255)),
    st.builds(lambda high, low: high << 8 | low, st.integers(2**24 - 2**21, 2**24 - 1), st.integers(0, 3)),
    st.integers(2**32 - 130, 2**32 - 1),
)


@examples(200)
@given(words=st.lists(AWKWARD, max_size=60), n=st.integers(1, 40), block=st.integers(3, 40))
def test_gaussian_of_awkward_words_in_small_blocks(words, n, block):
    plain, ours = Script(words), Script(words)
    expected = np.array([plain_normal(plain) for _ in range(n)], f32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ziggurat, "_BLOCK", block)
        assert np.array_equal(gaussian(ours, n, 0, 1), expected)
    assert ours.at == plain.at


@pytest.mark.parametrize(
    ("case", "seed", "n"), [("million", 16, 10**6), pytest.param("huge", 7, 12 * 10**6, marks=pytest.mark.slow)]
)
def test_gaussian_millions_as_measured(root, case, seed, n):
    reference = np.load(root / f"tests/conformance/reference/fill_gaussian_{case}.npz")["pdigest:i:0"]
    np.testing.assert_allclose(digest(gaussian(Stream(seed), n, 0, 1)), reference, rtol=1e-9)


def test_gaussian_scales_in_float32():
    unit = gaussian(Stream(5), 1000, 0, 1)
    assert np.array_equal(gaussian(Stream(5), 1000, 0.3, 0.01), unit * f32(0.01) + f32(0.3))


def test_gaussian_refuses_no_spread():
    with pytest.raises(CaffeError, match="sigma > 0"):
        gaussian(Stream(1), 3, 0, 0)


def plain_below(count, stream):
    most = 2**32 - 1
    bucket = most // count + (most % count == count - 1)
    while True:
        value = stream.word() // bucket
        if value < count:
            return value


def plain_shuffle(n, stream):
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = plain_below(i + 1, stream)
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize("n", [0, 1, 2, 3, 24, 1000, 70000])
def test_shuffle_equals_one_swap_at_a_time(n):
    ours, plain = Stream(n), Stream(n)
    assert shuffled(n, ours).tolist() == plain_shuffle(n, plain)
    assert ours.word() == plain.word()


@given(st.lists(st.integers(2**32 - 6, 2**32 - 1) | st.integers(0, 2**32 - 1), max_size=40), st.integers(2, 12))
def test_shuffle_redraws_words_beyond_the_buckets(words, n):
    ours, plain = Script(words), Script(words)
    assert shuffled(n, ours).tolist() == plain_shuffle(n, plain)
    assert ours.at == plain.at


@pytest.mark.parametrize("ratio", [0, 0.1, 0.5, 0.7, 0.999, 1])
def test_keep_mask_compares_in_double(ratio):
    keep = 1 - float(f32(ratio))
    edge = min(2**32 - 1, math.floor(keep * 4294967295.0))
    words = [0, 1, edge, min(edge + 1, 2**32 - 1), max(edge - 1, 0), 2**31 - 1, 2**31, 2**32 - 1]
    expected = [keep > 0 and float(word) <= keep * 4294967295.0 for word in words]
    assert keep_mask(Script(words).words, len(words), ratio).tolist() == expected


def test_keep_mask_as_measured(root):
    inputs = np.load(root / "tests/conformance/cases/dropout_train_mask/inputs.npz")["x"]
    reference = np.load(root / "tests/conformance/reference/dropout_train_mask.npz")
    stream = Stream(1701)
    y = inputs * keep_mask(stream.words, inputs.size, 0.5).reshape(inputs.shape) * f32(2)
    assert np.array_equal(y, reference["data:y"])
    assert np.array_equal(y * keep_mask(stream.words, y.size, 0.5).reshape(y.shape) * f32(2), reference["data:z"])


def test_bernoulli_compares_in_float32_and_draws_nothing_for_zero():
    # 2**31 + 64 is 2**31 in float32, and so within a half
    stream = Script([2**31, 2**31 + 64, 2**31 + 300])
    assert bernoulli(stream, 3, 0.5).tolist() == [True, True, False]
    assert bernoulli(stream, 3, 0).tolist() == [False] * 3
    assert stream.at == 3
    with pytest.raises(CaffeError, match="probability"):
        bernoulli(stream, 3, 1.5)


def test_uniform_redraws_what_rounds_beyond_the_end():
    words = [2**32 - 1, 0, 2**32 - 129, 2**31, 5]
    stream = Script(words)
    # scaled to the next float after 1, which itself is out
    assert uniform(stream, 3, 0, 1).tolist() == [0, 1, 0.5 * (1 + 2**-23)]
    assert stream.at == 4


def test_uniform_range_must_not_be_reversed():
    with pytest.raises(CaffeError, match="min <= max"):
        uniform(Stream(1), 2, 1, 0)


def test_c_rand_is_glibcs():
    numbers = CRand()
    assert [numbers.rand() for _ in range(5)] == [1804289383, 846930886, 1681692777, 1714636915, 1957747793]
    saved = json.loads(json.dumps(numbers.state()))
    ahead = [numbers.rand() for _ in range(50)]
    numbers.set_state(saved)
    assert [numbers.rand() for _ in range(50)] == ahead


def test_c_shuffle_is_libstdcxxs():
    # printed by std::random_shuffle of g++ on 0 … 19 in a fresh process
    assert CRand().shuffled(20).tolist() == [4, 10, 11, 15, 14, 16, 17, 1, 6, 9, 3, 7, 19, 2, 0, 12, 5, 18, 13, 8]
