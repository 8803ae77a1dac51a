"""Caffe's CPU random streams, word for word: Mersenne Twisters, a global one per thread, and what is drawn from them.

Sources of the behaviour: common.cpp, util/rng.hpp, math_functions.cpp and the Boost.Random distributions they use.
"""

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import CaffeError
from .ziggurat import unit_normals

_WORD = 2**32
_TWO_32 = np.float32(_WORD)
BLOCK, BLOCKS = 1 << 20, 4  # words drawn ahead: a training step's of CaffeNet, twice
_CHUNK = 1 << 16  # of a shuffle: a redrawn word shifts the rest of its chunk only


class Stream:
    """An mt19937 of 32-bit words, seeded as the standard says (``seed`` counts modulo 2**32)."""

    def __init__(self, seed):
        self._twister = np.random.MT19937(0)
        # RandomState's words are frozen across numpy versions; Generator's may change
        self._random = np.random.RandomState(self._twister)
        self._random.seed(seed % _WORD)
        self._ahead = deque()  # futures: where a block of words begins, and the block
        self._used = 0  # words of the first block that were given out
        self._thread = None

    def _draw(self, n):
        return self._random.randint(0, _WORD, size=n, dtype=np.uint32)

    def _block(self):
        return self._twister.state, self._draw(BLOCK)

    def word(self):
        """The next word."""
        self._settle()
        return int(self._twister.random_raw())

    def words(self, n):
        """The next ``n`` words, uint32."""
        self._settle()
        return self._draw(n)

    def words_ahead(self, n):
        """The same, for a caller that will want more soon: a thread draws on meanwhile."""
        self._thread = self._thread or ThreadPoolExecutor(1)
        pieces = []
        while n:
            while len(self._ahead) < BLOCKS:
                self._ahead.append(self._thread.submit(self._block))
            _, block = self._ahead[0].result()
            pieces.append(block[self._used : self._used + n])
            n -= len(pieces[-1])
            self._used += len(pieces[-1])
            if self._used == len(block):
                self._ahead.popleft()
                self._used = 0
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.empty(0, np.uint32)])

    def _settle(self):
        """Let the twister stand where the stream does."""
        if self._ahead:
            beginning, _ = self._ahead[0].result()
            self._ahead.pop().result()  # the last of them, and so all
            self._ahead.clear()
            self._twister.state = beginning
            self._draw(self._used)
            self._used = 0

    def stop(self):
        """End the thread; the next who wants words ahead starts another."""
        self._settle()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def mark(self):
        """Where the stream stands, for ``rewind``."""
        self._settle()
        return self._twister.state

    def rewind(self, mark):
        """Stand where ``mark()`` was taken."""
        self._settle()
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


def _before_fork():
    if hasattr(_local, "stream"):
        _local.stream.stop()  # a child would wait for a thread that it has not


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)


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


def keep_mask(words, n, ratio):
    """Dropout's mask: ``n`` booleans, True where kept, one word each; ``ratio`` is the part dropped.

    ``words`` gives that many, as a `Stream` does. The comparison is in double although the ratio is a float32
    (dropout_layer.cpp).
    """
    return _bernoulli(words, n, 1 - float(np.float32(ratio)), float(_WORD - 1))


def bernoulli(stream, n, p):
    """``n`` booleans, True with probability ``p``, one word each, compared in float32 (none is drawn where p is 0)."""
    p = np.float32(p)
    if not 0 <= p <= 1:
        raise CaffeError(f"Check failed: 0 <= p <= 1: a probability cannot be {p:g}.")
    return _bernoulli(stream.words, n, p, _TWO_32)


def _bernoulli(draw, n, p, most):
    if p == 0:
        return np.zeros(n, bool)
    words = draw(n)
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
