"""What training costs beside the network: the weight map, and the loop around the step."""

import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from geounet.train.weightmap import boundary_weights, connected_instances


def best(call: Callable[[], object], times: int) -> float:
    """Shortest of several runs, in seconds; the first one compiles and does not count."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def hundred_objects() -> np.ndarray:
    """Label sets of a 512 x 512 window with a hundred buildings of 10 to 40 px a side."""
    rng = np.random.default_rng(0)
    labels = np.ones((512, 512), dtype=np.uint8)
    for row in range(10):
        for col in range(10):
            top, left = 51 * row + rng.integers(8), 51 * col + rng.integers(8)
            tall, wide = rng.integers(10, 41, 2)
            labels[top : top + tall, left : left + wide] = 2
    return labels


def test_weight_map_of_a_hundred_objects() -> None:
    labels = hundred_objects()
    instances = connected_instances(labels, (2,))
    assert instances.max() == 100
    whole = best(lambda: boundary_weights(connected_instances(labels, (2,))), 20)
    alone = best(lambda: boundary_weights(instances), 20)
    transform = best(lambda: ndimage.distance_transform_edt(instances == 0), 5)
    print(
        f"\nweight map of 512 x 512 px, 100 objects: {1e3 * alone:.1f} ms,"
        f" {1e3 * whole:.1f} ms with the search for objects;"
        f" one distance transform {1e3 * transform:.1f} ms"
    )
    assert whole <= 0.015
