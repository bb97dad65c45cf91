"""The outline of a building cut into straight walls: the compiled search behind squaring.

A ring is cut by dynamic programming. Each wall is either parallel to one of the building's axes or
free, and the cut with the smallest sum of squared distances (from the midpoints of the outline's
unit steps to their walls) plus a price per wall wins. A free wall costs more than one along an
axis, so that an oblique wall is drawn only where the outline insists. The price is the cube of the
tolerance: a bay one tolerance deep pays for its two more walls when it is twice as wide as deep.

Samples are float64 ``(n, 4)``: x and y of a step's midpoint, and the step as a vector. Everything
is in pixels and radians. Loops are written out because numba compiles them several times faster
than array expressions and reductions, and a first call should not wait.
"""

import math

import numpy as np

from geounet.vector.compiled import inner, kernel, once

FREE_PRICE = 2.5
"""Price of a free wall in prices of a wall along an axis."""

FREE_SHORTEST = 3.0
"""Length of the shortest free wall in tolerances; one is enough along an axis. Shorter free walls
are mostly corners that a network rounded off."""

SPREAD = 0.3
"""Distance in tolerances from a chord at which a point of the raw outline may start a wall."""

CORNER_SAMPLES = 2
"""Samples left out at each end of a long wall: networks round corners off."""

PARALLEL = 0.25
"""Sine of the smallest angle between walls that meet in a corner."""


@kernel
def sample(ring: np.ndarray) -> np.ndarray:
    """Samples of the ring ``(m, 2)``, its last vertex not repeated.

    Edges between pixel corners give one sample per pixel side; others are divided into steps of
    about one pixel.
    """
    total, m = 0, len(ring)
    for i in range(m):
        j = (i + 1) % m
        total += max(1, round(math.hypot(ring[j, 0] - ring[i, 0], ring[j, 1] - ring[i, 1])))
    samples = np.empty((total, 4))
    k = 0
    for i in range(m):
        j = (i + 1) % m
        dx, dy = ring[j, 0] - ring[i, 0], ring[j, 1] - ring[i, 1]
        parts = max(1, round(math.hypot(dx, dy)))
        for part in range(parts):
            share = (part + 0.5) / parts
            samples[k, 0], samples[k, 1] = ring[i, 0] + dx * share, ring[i, 1] + dy * share
            samples[k, 2], samples[k, 3] = dx / parts, dy / parts
            k += 1
    return samples


@inner
def rolled(samples: np.ndarray, first: int) -> np.ndarray:
    """The same ring starting at another sample."""
    n = len(samples)
    result = np.empty((n, 4))
    for i in range(n):
        for column in range(4):
            result[i, column] = samples[(i + first) % n, column]
    return result


@inner
def middle_of(samples: np.ndarray) -> tuple[float, float]:
    """Mean x and y."""
    x, y = 0.0, 0.0
    for i in range(len(samples)):
        x += samples[i, 0] / len(samples)
        y += samples[i, 1] / len(samples)
    return x, y


@inner
def places_of(samples: np.ndarray, spread: float) -> np.ndarray:
    """Samples that may start a wall, int64 ``(c,)`` from 0 to n: the outline's salient points.

    They are the vertices of its simplification by Douglas and Peucker (The Canadian Cartographer
    10, 1973) with the tolerance ``spread``, in pixels.
    """
    n = len(samples)
    keep = np.zeros(n + 1, np.bool_)
    keep[0] = keep[n] = True
    stack = np.empty((n + 2, 2), np.int64)
    stack[0, 0], stack[0, 1] = 0, n
    depth = 1
    while depth > 0:
        depth -= 1
        i, j = stack[depth, 0], stack[depth, 1]
        x0, y0 = samples[i, 0], samples[i, 1]
        dx, dy = samples[j % n, 0] - x0, samples[j % n, 1] - y0
        square = dx * dx + dy * dy
        far, best = spread * spread, -1
        for k in range(i + 1, j):
            x, y = samples[k, 0] - x0, samples[k, 1] - y0
            cross, along = dx * y - dy * x, dx * x + dy * y
            if square == 0 or along < 0:
                distance = x * x + y * y
            elif along > square:
                distance = (x - dx) ** 2 + (y - dy) ** 2
            else:
                distance = cross * cross / square
            if distance > far:
                far, best = distance, k
        if best >= 0:
            keep[best] = True
            stack[depth, 0], stack[depth, 1] = i, best
            stack[depth + 1, 0], stack[depth + 1, 1] = best, j
            depth += 2
    places = np.empty(n + 1, np.int64)
    count = 0
    for i in range(n + 1):
        if keep[i]:
            places[count] = i
            count += 1
    return places[:count]


@inner
def prefix_sums(samples: np.ndarray) -> np.ndarray:
    """Sums ``(n + 1, 5)`` of x, y, xx, xy, yy over the samples before each."""
    sums = np.zeros((len(samples) + 1, 5))
    for i in range(len(samples)):
        x, y = samples[i, 0], samples[i, 1]
        sums[i + 1, 0] = sums[i, 0] + x
        sums[i + 1, 1] = sums[i, 1] + y
        sums[i + 1, 2] = sums[i, 2] + x * x
        sums[i + 1, 3] = sums[i, 3] + x * y
        sums[i + 1, 4] = sums[i, 4] + y * y
    return sums


@kernel
def scatter(sums: np.ndarray, i: int, j: int) -> tuple[float, float, float]:
    """Centred second moments (xx, xy, yy) of samples i .. j - 1."""
    n = j - i
    x, y = sums[j, 0] - sums[i, 0], sums[j, 1] - sums[i, 1]
    return (
        sums[j, 2] - sums[i, 2] - x * x / n,
        sums[j, 3] - sums[i, 3] - x * y / n,
        sums[j, 4] - sums[i, 4] - y * y / n,
    )


@inner
def trimmed(i: int, j: int) -> tuple[int, int]:
    """Samples i .. j - 1 without those next to the corners, if enough remain."""
    off = min(CORNER_SAMPLES, (j - i) // 5)
    return i + off, j - off


@inner
def may_follow(axes: np.ndarray) -> np.ndarray:
    """Whether walls on two lines may meet in a corner, boolean ``(k + 1, k + 1)``."""
    k = len(axes)
    result = np.empty((k + 1, k + 1), np.bool_)
    for a in range(k + 1):
        for b in range(k + 1):
            result[a, b] = a == k or b == k or abs(math.sin(axes[a] - axes[b])) > PARALLEL
    return result


@kernel
def cut(
    samples: np.ndarray, places: np.ndarray, axes: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Cut a ring, whose first sample starts at a corner, or a path into walls.

    Args:
        samples: ``(n, 4)``.
        places: ``(c,)`` as from :func:`places_of`.
        axes: ``(k,)`` directions of lines that walls may be parallel to.
        tolerance: in pixels.

    Returns:
        ``starts`` int64 ``(w,)``, the first sample of each wall; ``lines`` int64 ``(w,)``, the
        index of its axis, or k where it is free; the cost. Empty where no cut exists.
    """
    count, free = len(places), len(axes)
    sums, follows = prefix_sums(samples), may_follow(axes)
    price, shortest = tolerance**3, tolerance**2
    best = np.empty((count, free + 1))  # cheapest cut of the samples before a place, by
    source = np.zeros((count, free + 1), np.int64)  # its last wall's line; that wall's start
    before = np.empty((count, free + 1))  # cheapest cut that a line may continue
    for place in range(count):
        for k in range(free + 1):
            best[place, k] = np.inf
            before[place, k] = np.inf if place > 0 else 0.0
    normals = np.empty((free, 2))
    for k in range(free):
        normals[k, 0], normals[k, 1] = -math.sin(axes[k]), math.cos(axes[k])
    losses = np.zeros(count)  # of a wall from each place to the current one; infinite once hopeless
    begin = 0  # all places before are hopeless
    for q in range(1, count):
        for p in range(begin, q):
            if losses[p] < np.inf:
                losses[p] = _extend(
                    p, q, places, samples, sums, normals, price, shortest, before, best, source
                )
        for k in range(free + 1):
            for other in range(free + 1):
                if follows[k, other] and best[q, other] < before[q, k]:
                    before[q, k] = best[q, other]
        # Walls only get worse as they grow: what lost by more than a corner here will never win.
        limit = before[q, free] + FREE_PRICE * price
        for p in range(begin, q):
            if before[p, free] + losses[p] > limit:
                losses[p] = np.inf
        while begin < q and losses[begin] == np.inf:
            begin += 1
    chosen, lines, cost = _trace(follows, best, before, source)
    return _refined(chosen, lines, places, sums, normals), lines, cost


@once
def _extend(
    p: int,
    q: int,
    places: np.ndarray,
    samples: np.ndarray,
    sums: np.ndarray,
    normals: np.ndarray,
    price: float,
    shortest: float,
    before: np.ndarray,
    best: np.ndarray,
    source: np.ndarray,
) -> float:
    """Try a wall from place p to place q on every line; returns the smallest loss of any line."""
    free = len(normals)
    i, j = places[p], places[q]
    xx, xy, yy = scatter(sums, i, j)
    loss = _loss((xx, xy, yy), free, normals)
    # From the corner before sample i to the one after sample j - 1.
    dx = samples[j - 1, 0] - samples[i, 0] + (samples[j - 1, 2] + samples[i, 2]) / 2
    dy = samples[j - 1, 1] - samples[i, 1] + (samples[j - 1, 3] + samples[i, 3]) / 2
    if dx * dx + dy * dy < shortest:
        return loss
    cost = before[p, free] + loss + FREE_PRICE * price
    if cost < best[q, free] and dx * dx + dy * dy >= FREE_SHORTEST**2 * shortest:
        best[q, free], source[q, free] = cost, p
    for k in range(free):
        x, y = normals[k, 0], normals[k, 1]
        along = dx * y - dy * x
        if along * along >= shortest:
            cost = before[p, k] + price + _loss((xx, xy, yy), k, normals)
            if cost < best[q, k]:
                best[q, k], source[q, k] = cost, p
    return loss


@once
def _refined(
    chosen: np.ndarray, lines: np.ndarray, places: np.ndarray, sums: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """Starts of walls at the best samples between the places next to the chosen ones."""
    starts: np.ndarray = places[chosen]
    for w in range(1, len(starts)):
        before = starts[w - 1]
        after = starts[w + 1] if w + 1 < len(starts) else len(sums) - 1
        first = max(before + 2, places[chosen[w] - 1] + 1)
        least = np.inf
        for start in range(first, min(after - 1, places[chosen[w] + 1])):
            loss = _loss(scatter(sums, before, start), lines[w - 1], normals)
            loss += _loss(scatter(sums, start, after), lines[w], normals)
            if loss < least:
                least, starts[w] = loss, start
    return starts


@inner
def _loss(moments: tuple[float, float, float], line: int, normals: np.ndarray) -> float:
    """Sum of squared distances from a line of free or given direction."""
    xx, xy, yy = moments
    if line == len(normals):
        return (xx + yy) / 2 - math.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    x, y = float(normals[line, 0]), float(normals[line, 1])
    return xx * x * x + 2 * xy * x * y + yy * y * y


@once
def _trace(
    follows: np.ndarray, best: np.ndarray, before: np.ndarray, source: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Follow the cheapest cut back to the start: places where walls start, their lines, cost."""
    count, kinds = best.shape
    q, line = count - 1, 0
    for k in range(kinds):
        if best[q, k] < best[q, line]:
            line = k
    cost = best[q, line]
    starts, lines = np.empty(count, np.int64), np.empty(count, np.int64)
    walls = count
    while q > 0 and cost < np.inf:
        p = source[q, line]
        walls -= 1
        starts[walls], lines[walls] = p, line
        for other in range(kinds):
            if p > 0 and follows[line, other] and best[p, other] == before[p, line]:
                line = other
                break
        q = p
    return starts[walls:], lines[walls:], cost
