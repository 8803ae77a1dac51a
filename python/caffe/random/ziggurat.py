"""Boost's ziggurat, from which Caffe's Gaussian numbers come, vectorised over blocks of 32-bit words.

Almost every word gives a sample. About one in 36 is not accepted at once and uses further words, which shifts all
samples after it. A block is therefore first read as if every word began an attempt at a sample; then the attempts that
use more than one word are read, and those that do not begin where the one before ends are discarded.
"""

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BLOCK = 1 << 18  # words per block, so that its arrays fit into the cache
_THREADS = 2  # that read blocks, while the next are drawn
_UNIT = np.float32(2.0**-32)
_FRACTION = np.float32(2.0**-24)
_REJECTED = np.float32(np.nan)


def _layers(count, r, area, f, inverse):
    """Edges x and heights y of a ziggurat of layers of equal areas, the first with the tail beyond r."""
    x = [area / f(r), r]
    while len(x) < count:
        x.append(inverse(f(x[-1]) + area / x[-1]))
    x.append(0.0)
    return np.array(x), np.array([0.0] + [f(edge) for edge in x[1:]])


def _normal_layers():
    r = 3.442619855896652
    tail = math.sqrt(math.pi / 2) * math.erfc(r / math.sqrt(2))
    area = r * math.exp(-r * r / 2) + tail
    return _layers(128, r, area, lambda x: math.exp(-x * x / 2), lambda y: math.sqrt(-2 * math.log(y)))


def _exponential_layers():
    r = 7.69711747013105
    return _layers(256, r, (r + 1) * math.exp(-r), lambda x: math.exp(-x), lambda y: -math.log(y))


_NORMAL_X, _NORMAL_Y = _normal_layers()
_EXPONENTIAL_X, _EXPONENTIAL_Y = _exponential_layers()
_TAIL = np.float32(_NORMAL_X[1])


def _heights(y):
    """The lower edge and the height of each layer, float32."""
    return y[:-1].astype(np.float32), np.diff(y).astype(np.float32)


_NORMAL_LOW, _NORMAL_HIGH = _heights(_NORMAL_Y)
_EXPONENTIAL_LOW, _EXPONENTIAL_HIGH = _heights(_EXPONENTIAL_Y)
_EXPONENTIAL_EDGE = _EXPONENTIAL_X.astype(np.float32)


def _by_low_byte():
    """For every low byte of a word: its layer's signed width per step of the high 24 bits, and the smallest word that
    is not accepted at once.

    The comparison of a float32 with a double is monotone in the high bits, so one integer per layer is enough.
    """
    width = _NORMAL_X[:-1].astype(np.float32)
    limit = np.zeros(128, np.uint32)
    for layer in range(128):
        low, high = 0, 1 << 24
        while low < high:
            middle = (low + high) // 2
            if float(np.float32(middle) * _FRACTION * width[layer]) < _NORMAL_X[layer + 1]:
                low = middle + 1
            else:
                high = middle
        limit[layer] = low << 8
    byte = np.arange(256)
    sign = np.where(byte & 1, 1, -1).astype(np.float32)
    return sign * width[byte >> 1] * _FRACTION, limit[byte >> 1]


_STEP, _LIMIT = _by_low_byte()


def normals(stream, n, mean, std):
    """``n`` normal float32 values; ``stream`` is advanced by the words that they use.

    Threads read the blocks of words as if an attempt began with each; a block for which that is wrong is read again.
    """
    out = np.empty(n, np.float32)
    done = 0
    rest = np.empty(0, np.uint32)  # words of an attempt that the next block completes
    blocks = deque()  # the stream's state before a block, its words and what is read from them
    with ThreadPoolExecutor(_THREADS) as threads:
        while done < n:
            while len(blocks) <= _THREADS and (missing := n - done - sum(len(words) for _, words, _ in blocks)) > 0:
                mark, words = stream.mark(), stream.words(min(_BLOCK, missing + missing // 32 + 16))
                blocks.append((mark, words, threads.submit(_samples, words)))
            mark, words, read = blocks.popleft()
            values, keep, starts, ends = read.result()
            before = len(rest)
            if before:
                words = np.concatenate([rest, words])
                values, keep, starts, ends = _samples(words)
            rest = words[len(keep) :]
            kept = np.flatnonzero(keep)[: n - done]
            samples = values.take(kept, out=out[done : done + len(kept)], mode="wrap")
            samples *= std
            samples += mean
            done += len(kept)
    if n:
        at = np.searchsorted(starts, kept[-1])
        end = ends[at] if at < len(starts) and starts[at] == kept[-1] else kept[-1] + 1
        stream.rewind(mark)
        stream.words(int(end) - before)
    return out


def _samples(words):
    """Read a block of words.

    Returns the value for every word that begins an attempt, a mask of the attempts that are accepted (shorter than the
    block if the last attempt needs more words), and the bounds of the attempts that use more than one word.
    """
    low = (words & np.uint32(255)).astype(np.intp)  # take is fastest with intp and "wrap"
    values = (words >> np.uint32(8)).astype(np.float32)
    values *= _STEP.take(low, mode="wrap")
    starts = np.flatnonzero(words >= _LIMIT.take(low, mode="wrap"))  # as if an attempt began with every word
    ends, found = _read_long(words, starts, low[starts] >> 1, values[starts])
    begun = _begun(starts, ends)
    starts, ends, found = starts[begun], ends[begun], found[begun]
    limit = len(words)
    if len(ends) and ends[-1] > limit:
        limit, starts, ends, found = starts[-1], starts[:-1], ends[:-1], found[:-1]
    values[starts] = found
    keep = np.ones(limit, bool)
    keep[starts] = ~np.isnan(found)
    within, until = starts + 1, ends
    while len(within):
        keep[within] = False
        within = within + 1
        within, until = within[within < until], until[within < until]
    return values[:limit], keep, starts, ends


def _read_long(words, starts, layer, x):
    """The ends and the values, NaN for a rejected one, of the attempts at ``starts``, which use more than one word.

    An attempt that uses words after the block has an end beyond it.
    """
    u = words.take(starts + 1, mode="clip").astype(np.float32) * _UNIT
    in_tail = layer == 0
    ends = starts + 2 + in_tail
    values = np.where(_under_normal(x, layer, u), x, _REJECTED)
    tails = np.flatnonzero(in_tail & (ends <= len(words)))
    values[tails] = _short_tails(words, starts[tails])
    for i in np.flatnonzero(in_tail & np.isnan(values) | (u == 1) | (ends > len(words))).tolist():
        try:
            values[i], ends[i] = _attempt(words, int(starts[i]), x[i])
        except IndexError:
            ends[i] = len(words) + 1
    return ends, values


def _short_tails(words, starts):
    """The values of attempts in the tail that use three words, NaN for those that use more."""
    exponential = words[np.add.outer([1, 2], starts)]
    layer = (exponential & np.uint32(255)).astype(np.intp)
    x, y = steps = (exponential >> np.uint32(8)).astype(np.float32) * _FRACTION * _EXPONENTIAL_EDGE[layer]
    accepted = (steps < _EXPONENTIAL_EDGE[layer + 1]).all(axis=0)
    x = x / _TAIL
    value = np.where(words[starts] & np.uint32(1), x + _TAIL, -(x + _TAIL))
    return np.where(accepted & (y + y > x * x), value, _REJECTED)


def _begun(starts, ends):
    """A mask of the attempts that do begin: at a word that none before them uses."""
    begun = np.ones(len(starts), bool)
    resume = 0
    for i in (np.flatnonzero(starts[1:] < np.maximum.accumulate(ends)[:-1]) + 1).tolist():
        if begun[i - 1]:
            resume = ends[i - 1]
        begun[i] = starts[i] >= resume
    return begun


def _attempt(words, position, x):
    """Read one attempt of more than one word: its value, NaN if it is rejected, and its end."""
    layer = int(words[position]) >> 1 & 127
    if layer == 0:
        value, end = _tail(words, position + 1)
        return (value if words[position] & 1 else -value), end
    u, end = _unit_uniform(words, position + 1)
    return (x if _under_normal(x, layer, u) else _REJECTED), end


def _under_normal(x, layer, u):
    y = _NORMAL_LOW[layer] + u * _NORMAL_HIGH[layer]
    # in double: Caffe's expf is correct to the last bit except in about one of a thousand, numpy's is not
    return y < np.exp((-x * x / np.float32(2)).astype(np.float64)).astype(np.float32)


def _tail(words, position):
    while True:
        x, position = _exponential(words, position)
        x = x / _TAIL
        y, position = _exponential(words, position)
        if y + y > x * x:
            return x + _TAIL, position


def _exponential(words, position):
    shift = np.float32(0)
    while True:
        word = int(words[position])
        position += 1
        layer = word & 255
        x = np.float32((word >> 8) * 2**-24 * _EXPONENTIAL_EDGE.item(layer))
        if x < _EXPONENTIAL_EDGE[layer + 1]:
            return shift + x, position
        if layer == 0:
            shift += _EXPONENTIAL_EDGE[1]
            continue
        u, position = _unit_uniform(words, position)
        y = _EXPONENTIAL_LOW[layer] + u * _EXPONENTIAL_HIGH[layer]
        if y < np.float32(math.exp(-float(x))):
            return x + shift, position


def _unit_uniform(words, position):
    while True:
        u = np.float32(int(words[position])) * _UNIT
        position += 1
        if u < 1:
            return u, position
