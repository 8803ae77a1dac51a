"""Caffe's CPU random streams, word for word: Mersenne Twisters, a global one per thread, and what is drawn from them.

Sources of the behaviour: common.cpp, util/rng.hpp, math_functions.cpp and the Boost.Random distributions they use.
"""

import os
import threading
from collections import deque

import numpy as np

from .errors import CaffeError
from .ziggurat import unit_normals

_WORD = 2**32
_TWO_32 = np.float32(_WORD)
_CHUNK = 1 << 16  # of a shuffle: a redrawn word shifts the rest of its chunk only


class _Ahead(threading.Thread):
    """Words on their way; numpy draws them without holding Python's lock."""

    def __init__(self, draw, n):
        super().__init__(daemon=True)
        self.n = n
        self._draw = draw
        self._words = None
        self.start()

    def run(self):
        self._words = self._draw(self.n)

    def result(self):
        """The words, once they are drawn."""
        self.join()
        return self._words


class Stream:
    """An mt19937 of 32-bit words, seeded as the standard says (``seed`` counts modulo 2**32)."""

    def __init__(self, seed):
        self._twister = np.random.MT19937(0)
        # RandomState's words are frozen across numpy versions; Generator's may change
        self._random = np.random.RandomState(self._twister)
        self._random.seed(seed % _WORD)
        self._ahead = None  # where the stream stands, and a thread that draws the words from there

    def _draw(self, n):
        return self._random.randint(0, _WORD, size=n, dtype=np.uint32)

    def word(self):
        """The next word."""
        self.mark()
        return int(self._twister.random_raw())

    def words(self, n, ahead=False):
        """The next ``n`` words, uint32; ``ahead``: a thread draws as many more, for the next call of that size."""
        drawn = None
        if self._ahead is not None and self._ahead[1].n == n:
            drawn = self._ahead[1].result()
        else:
            self.mark()
        words = self._draw(n) if drawn is None else drawn
        self._ahead = (self._twister.state, _Ahead(self._draw, n)) if ahead else None
        return words

    def mark(self):
        """Where the stream stands, for ``rewind``."""
        if self._ahead is not None:
            mark, thread = self._ahead
            thread.result()
            self.rewind(mark)
        return self._twister.state

    def rewind(self, mark):
        """Stand where ``mark()`` was taken."""
        if self._ahead is not None:
            self._ahead[1].result()
            self._ahead = None
        self._twister.state = mark

    def state(self):
        """Where the stream stands, as plain lists and numbers that JSON can hold."""
        inner = self.mark()["state"]
        return {"key": inner["key"].tolist(), "pos": int(inner["pos"])}

    def set_state(self, state):
        """Stand where ``state()`` was taken; ValueError, TypeError or KeyError for what is no such state."""
        key = np.array([index_below(word, _WORD) for word in state["key"]], np.uint32)
        if len(key) != 624:
            raise ValueError(f"a Mersenne Twister has 624 words, not {len(key)}")
        # numpy takes any position, and would read beyond the words
        pos = index_below(state["pos"], 625)
        self.rewind({"bit_generator": "MT19937", "state": {"key": key, "pos": pos}})

    @classmethod
    def of_state(cls, state):
        """A stream that stands where ``state()`` was taken; None for None."""
        if state is None:
            return None
        stream = cls(0)
        stream.set_state(state)
        return stream

    def copy(self):
        """A stream of its own that stands at the same word."""
        twin = Stream(0)
        twin.rewind(self.mark())
        return twin


def index_below(value, end):
    """``value``, an integer in [0, end), as one finds it in a file; ValueError where it is anything else."""
    if type(value) is not int or not 0 <= value < end:
        raise ValueError(f"{value!r:.40} is no integer from 0 to {end - 1}")
    return value


def permutation(values, n):
    """A list from a file that holds 0 … n − 1 in some order, as an index array; ValueError where it does not."""
    if not isinstance(values, list) or sorted(index_below(value, n) for value in values) != list(range(n)):
        raise ValueError(f"no order of {n} things")
    return np.array(values, np.intp)


_local = threading.local()


def fresh_seed():
    """A seed nobody chose, from the operating system."""
    return int.from_bytes(os.urandom(4), "little")


def global_stream():
    """The thread's global stream; seeded by the operating system until ``set_random_seed`` is called."""
    if not hasattr(_local, "stream"):
        _local.stream = Stream(fresh_seed())
    return _local.stream


def set_random_seed(seed):
    """Start this thread's global stream anew: fillers, dropout and the seeds of data layers follow from it."""
    _local.stream = Stream(int(seed))


def shuffled(n, stream):
    """A permutation of ``range(n)``: Fisher-Yates from the last index down, as ``caffe::shuffle``."""
    order = list(range(n))
    for high in range(n, 1, -_CHUNK):
        counts = np.arange(high, max(high - _CHUNK, 1), -1)
        for count, j in zip(counts.tolist(), _below(counts, stream).tolist()):
            order[count - 1], order[j] = order[j], order[count - 1]
    return np.array(order, np.intp)


def _below(counts, stream):
    """For each count c in turn, a uniform integer in [0, c): the bucket of a word among c; words beyond are redrawn."""
    bucket = (_WORD - 1) // counts + ((_WORD - 1) % counts == counts - 1)
    values = np.empty(len(counts), np.int64)
    done = 0
    words = np.empty(0, np.int64)
    while done < len(counts):
        words = np.concatenate([words, stream.words(len(counts) - done - len(words)).astype(np.int64)])
        drawn = words // bucket[done:]
        beyond = np.flatnonzero(drawn >= counts[done:])
        good = int(beyond[0]) if len(beyond) else len(drawn)
        values[done : done + good] = drawn[:good]
        done += good
        words = words[good + 1 :]
    return values


def keep_mask(stream, n, ratio, ahead=False):
    """Dropout's mask: ``n`` booleans, True where kept, one word each; ``ratio`` is the part dropped.

    The comparison is in double although the ratio is a float32 (dropout_layer.cpp). ``ahead`` as in `Stream.words`.
    """
    return _bernoulli(stream, n, 1 - float(np.float32(ratio)), float(_WORD - 1), ahead)


def bernoulli(stream, n, p):
    """``n`` booleans, True with probability ``p``, one word each, compared in float32 (none is drawn where p is 0)."""
    p = np.float32(p)
    if not 0 <= p <= 1:
        raise CaffeError(f"Check failed: 0 <= p <= 1: a probability cannot be {p:g}.")
    return _bernoulli(stream, n, p, _TWO_32)


def _bernoulli(stream, n, p, most, ahead=False):
    if p == 0:
        return np.zeros(n, bool)
    words = stream.words(n, ahead)
    return words <= np.uint32(p * most) if isinstance(most, float) else words.astype(np.float32) <= p * most


def uniform(stream, n, low, high):
    """``n`` float32 numbers in [low, high]; a word each, and another for the rare one that rounds beyond ``high``."""
    low, high = np.float32(low), np.float32(high)
    if low > high:
        raise CaffeError(f"Check failed: a <= b ({low:g} vs. {high:g}): a uniform range needs min <= max.")
    end = np.nextafter(high, np.float32(np.inf))
    out = np.empty(n, np.float32)
    done = 0
    while done < n:
        values = stream.words(n - done).astype(np.float32)
        values /= _TWO_32
        values *= end - low
        values += low
        values = values[values < end]
        out[done : done + len(values)] = values
        done += len(values)
    return out


def gaussian(stream, n, mean, std):
    """``n`` float32 numbers from a normal distribution, by Boost's ziggurat."""
    mean, std = np.float32(mean), np.float32(std)
    if not std > 0:
        raise CaffeError(f"Check failed: sigma > 0 ({std:g} vs. 0): a gaussian needs a positive std.")
    values = unit_normals(stream, n)
    values *= std
    values += mean
    return values


class CRand:
    """The C library's ``rand()`` of a process that never calls ``srand`` (glibc), for what Caffe shuffles with it."""

    def __init__(self):
        values = [1]
        while len(values) < 31:
            values.append(16807 * values[-1] % (2**31 - 1))
        # additive feedback over the last 31; the first three repeat, the next 310 are thrown away
        self._last = deque(values[3:] + values[:3], maxlen=31)
        for _ in range(310):
            self.rand()

    def rand(self):
        """The next number, 31 bits."""
        value = (self._last[0] + self._last[28]) % _WORD
        self._last.append(value)
        return value >> 1

    def shuffled(self, n):
        """A permutation of ``range(n)`` as ``std::random_shuffle`` of libstdc++ makes it."""
        order = list(range(n))
        for i in range(1, n):
            j = self.rand() % (i + 1)
            order[i], order[j] = order[j], order[i]
        return np.array(order, np.intp)

    def state(self):
        """Where it stands, as a list of numbers."""
        return list(self._last)

    def set_state(self, state):
        """Stand where ``state()`` was taken; ValueError or TypeError for what is no such state."""
        if len(state) != 31:
            raise ValueError(f"rand() has 31 numbers, not {len(state)}")
        self._last = deque([index_below(value, _WORD) for value in state], maxlen=31)


#: This process's ``rand()``.
c_rand = CRand()
