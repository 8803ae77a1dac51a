"""Caffe's random streams on CPUs, with the same numbers: Mersenne Twisters, a global one per thread, and distributions.

Sources of the behaviour: common.cpp, util/rng.hpp, math_functions.cpp and the Boost.Random distributions they use.
"""

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import CaffeError
from .ziggurat import normals

_WORD = 2**32
_TWO_32 = np.float32(_WORD)
BLOCK, BLOCKS = 1 << 20, 4  # words drawn ahead: those of two training steps of CaffeNet
_CHUNK = 1 << 16  # words used at a time: their arrays fit into the cache, and a redrawn word shifts only the rest


class Stream:
    """An mt19937 of 32-bit words, seeded as in the C++ standard (``seed`` modulo 2**32)."""

    def __init__(self, seed):
        self._twister = np.random.MT19937(0)
        # RandomState gives the same words in all versions of numpy; Generator may not
        self._random = np.random.RandomState(self._twister)
        self._random.seed(seed % _WORD)
        self._ahead = deque()  # futures of (state at the beginning of a block of words, the block)
        self._used = 0  # words of the first block that have been used
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
        """The next ``n`` words, while a thread draws more for the next call."""
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
        """Discard the words drawn ahead and set the twister to the state after the last word used."""
        if self._ahead:
            beginning, _ = self._ahead[0].result()
            self._ahead.pop().result()  # when the last is done, all are
            self._ahead.clear()
            self._twister.state = beginning
            self._draw(self._used)
            self._used = 0

    def stop(self):
        """End the thread; the next call of ``words_ahead`` starts another."""
        self._settle()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def mark(self):
        """The current state, for ``rewind``."""
        self._settle()
        return self._twister.state

    def rewind(self, mark):
        """Return to the state of a ``mark()``."""
        self._settle()
        self._twister.state = mark

    def state(self):
        """The current state as lists and numbers, for JSON."""
        inner = self.mark()["state"]
        return {"key": inner["key"].tolist(), "pos": int(inner["pos"])}

    def set_state(self, state):
        """Return to a ``state()``; ValueError, TypeError or KeyError if it is not one."""
        key = np.array([index_below(word, _WORD) for word in state["key"]], np.uint32)
        if len(key) != 624:
            raise ValueError(f"a Mersenne Twister has 624 words, not {len(key)}")
        # numpy would accept any position and read beyond the words
        pos = index_below(state["pos"], 625)
        self.rewind({"bit_generator": "MT19937", "state": {"key": key, "pos": pos}})

    @classmethod
    def of_state(cls, state):
        """A stream in a given ``state()``; None for None."""
        if state is None:
            return None
        stream = cls(0)
        stream.set_state(state)
        return stream


def copied(stream):
    """Another stream in the same state; None for None."""
    if stream is None:
        return None
    copy = Stream(0)
    copy.rewind(stream.mark())
    return copy


def index_below(value, end):
    """``value`` if it is an integer in [0, end), else ValueError."""
    if type(value) is not int or not 0 <= value < end:
        raise ValueError(f"{value!r:.40} is not an integer from 0 to {end - 1}")
    return value


def permutation(values, n):
    """A list of 0 … n − 1 in some order as an index array; ValueError if it is anything else."""
    if not isinstance(values, list) or sorted(index_below(value, n) for value in values) != list(range(n)):
        raise ValueError(f"not a permutation of {n} indices")
    return np.array(values, np.intp)


_local = threading.local()


def fresh_seed():
    """A random seed from the operating system."""
    return int.from_bytes(os.urandom(4), "little")


def global_stream():
    """The thread's global stream; it is seeded by the operating system unless ``set_random_seed`` is called."""
    if not hasattr(_local, "stream"):
        _local.stream = Stream(fresh_seed())
    return _local.stream


def set_random_seed(seed):
    """Seed this thread's global stream, which fillers, dropout and the seeds of data layers are drawn from."""
    _local.stream = Stream(int(seed))


def _before_fork():
    if hasattr(_local, "stream"):
        _local.stream.stop()  # a child would wait for a thread that it does not have


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)


def shuffled(n, stream):
    """A permutation of ``range(n)`` as ``caffe::shuffle`` makes it: Fisher-Yates from the last index down."""
    order = list(range(n))
    for high in range(n, 1, -_CHUNK):
        counts = np.arange(high, max(high - _CHUNK, 1), -1)
        for count, j in zip(counts.tolist(), _below(counts, stream).tolist()):
            order[count - 1], order[j] = order[j], order[count - 1]
    return np.array(order, np.intp)


def _below(counts, stream):
    """For each count c in turn, a uniform integer in [0, c): the bucket of a word among c; others are drawn again."""
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
    """Dropout's mask: ``n`` booleans, True for values that are kept, from a word each; ``ratio`` is the part dropped.

    ``words(n)`` gives the words. They are compared in double precision although the ratio is a float32
    (dropout_layer.cpp).
    """
    kept = 1 - float(np.float32(ratio))
    return words(n) <= np.uint32(kept * (_WORD - 1)) if kept else np.zeros(n, bool)


def bernoulli(stream, n, p):
    """``n`` booleans, True with probability ``p``, a word each, compared in float32; no word is drawn if p is 0."""
    p = np.float32(p)
    if not 0 <= p <= 1:
        raise CaffeError(f"Check failed: 0 <= p <= 1: a probability cannot be {p:g}.")
    if p == 0:
        return np.zeros(n, bool)
    return stream.words(n).astype(np.float32) <= p * _TWO_32


def uniform(stream, n, low, high):
    """``n`` float32 values in [low, high], from a word each, or another if one rounds to more than ``high``."""
    low, high = np.float32(low), np.float32(high)
    if low > high:
        raise CaffeError(f"Check failed: a <= b ({low:g} vs. {high:g}): a uniform range needs min <= max.")
    end = np.nextafter(high, np.float32(np.inf))
    out = np.empty(n, np.float32)
    done = 0
    while done < n:
        values = stream.words(min(n - done, _CHUNK)).astype(np.float32)
        values /= _TWO_32
        values *= end - low
        values += low
        values = values[values < end]
        out[done : done + len(values)] = values
        done += len(values)
    return out


def gaussian(stream, n, mean, std):
    """``n`` float32 values from a normal distribution, by Boost's ziggurat."""
    mean, std = np.float32(mean), np.float32(std)
    if not std > 0:
        raise CaffeError(f"Check failed: sigma > 0 ({std:g} vs. 0): a gaussian needs a positive std.")
    return normals(stream, n, mean, std)


class CRand:
    """glibc's ``rand()`` in a process that never calls ``srand``; Caffe shuffles some data with it."""

    def __init__(self):
        values = [1]
        while len(values) < 31:
            values.append(16807 * values[-1] % (2**31 - 1))
        # additive feedback over the last 31 values; the first three are repeated, the next 310 discarded
        self._last = deque(values[3:] + values[:3], maxlen=31)
        for _ in range(310):
            self.rand()

    def rand(self):
        """The next value, 31 bits."""
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
        """The current state, as a list of numbers."""
        return list(self._last)

    def set_state(self, state):
        """Return to a ``state()``; ValueError or TypeError if it is not one."""
        if len(state) != 31:
            raise ValueError(f"rand() has 31 numbers, not {len(state)}")
        self._last = deque([index_below(value, _WORD) for value in state], maxlen=31)


#: This process's ``rand()``.
c_rand = CRand()
