"""Boost's ziggurat, from which Caffe's Gaussian numbers come, vectorised over blocks of 32-bit words.

Almost every word gives a sample. About one in eighty is rejected at first and uses further words, which shifts all
samples after it. A block is therefore first read as if every word began a sample, then the rejections are corrected.
"""

import math

import numpy as np

_BLOCK = 1 << 18  # words per block, so that its arrays fit into the cache
_UNIT = np.float32(2.0**-32)
_FRACTION = np.float32(2.0**-24)


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


def unit_normals(stream, n):
    """``n`` standard normal float32 values; ``stream`` is advanced by the words that they use."""
    out = np.empty(n, np.float32)
    done = 0
    rest = np.empty(0, np.uint32)
    while done < n:
        need = n - done
        mark = stream.mark()
        words = np.concatenate([rest, stream.words(min(_BLOCK, need + need // 32 + 16))])
        values, keep, starts, ends = _samples(words)
        found = int(np.count_nonzero(keep))
        if found >= need:
            last = int(np.flatnonzero(keep)[need - 1])
            out[done:] = values[: last + 1][keep[: last + 1]]
            at = int(np.searchsorted(starts, last))
            end = int(ends[at]) if at < len(starts) and starts[at] == last else last + 1
            stream.rewind(mark)
            stream.words(end - len(rest))
            return out
        out[done : done + found] = values[keep]
        done += found
        rest = words[len(keep) :]
    return out


def _samples(words):
    """Read a block of words.

    Returns the value for every word that begins an attempt, a mask of the attempts that are accepted (shorter than the
    block if the last attempt needs more words), and the bounds of the attempts that use more than one word.
    """
    low = words.astype(np.uint8)
    values = (words >> np.uint32(8)).astype(np.float32)
    values *= _STEP[low]
    rejected = np.flatnonzero(words >= _LIMIT[low])
    follow = words[np.minimum(rejected + 1, len(words) - 1)].astype(np.float32) * _UNIT
    # those that do not use exactly two words
    odd = (low[rejected] < 2) | (follow == 1) | (rejected == len(words) - 1)
    starts, ends, limit = _read_odd(words, values, rejected, odd)
    keep = np.ones(limit, bool)
    regular = rejected[rejected < limit]
    if len(starts):
        before = np.searchsorted(starts, regular, "right") - 1
        regular = regular[(before < 0) | (regular >= ends[before])]
        for start, end in zip(starts, ends):
            keep[start + 1 : end] = False
        keep[starts] = ~np.isnan(values[starts])
    regular = regular[(regular - _run_start(regular)) % 2 == 0]
    keep[regular] = _under_normal(values[regular], low[regular] >> 1, words[regular + 1].astype(np.float32) * _UNIT)
    keep[regular + 1] = False
    starts = np.concatenate([starts, regular])
    order = np.argsort(starts)
    return values[:limit], keep, starts[order], np.concatenate([ends, regular + 2])[order]


def _run_start(positions):
    """For each position, in ascending order, the first of the run of consecutive positions that it is in.

    Within a run every second rejected word is the second word of the attempt before it.
    """
    if not len(positions):
        return positions
    begins = np.concatenate([[True], np.diff(positions) != 1])
    return positions[np.maximum.accumulate(np.where(begins, np.arange(len(positions)), 0))]


def _read_odd(words, values, rejected, odd):
    """Read, one by one, the rejections that do not use two words: the tail, and redrawn uniforms of 1 (1 in 2**25).

    Writes their values (NaN for a rejected attempt) to ``values``; returns their bounds and how far the block can be
    read.
    """
    starts, ends = [], []
    run_start = _run_start(rejected)
    resume = 0
    limit = len(words)
    for position, base in zip(rejected[odd].tolist(), run_start[odd].tolist()):
        if position < resume or (position - max(base, resume)) % 2:
            continue
        try:
            values[position], resume = _attempt(words, position, values[position])
        except IndexError:
            limit = position
            break
        starts.append(position)
        ends.append(resume)
    return np.array(starts, np.intp), np.array(ends, np.intp), limit


def _attempt(words, position, x):
    layer = int(words[position]) >> 1 & 127
    if layer == 0:
        value, end = _tail(words, position + 1)
        return (value if words[position] & 1 else -value), end
    u, end = _unit_uniform(words, position + 1)
    return (x if _under_normal(x, layer, u) else np.float32(np.nan)), end


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
        x = np.float32(word >> 8) * _FRACTION * _EXPONENTIAL_EDGE[layer]
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
