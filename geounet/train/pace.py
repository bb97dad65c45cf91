"""How many threads a training step should use on a machine that others use too."""

import os
import time

import psutil


class Pace:
    """Counts the cores that other processes leave free.

    A step on all cores waits for its slowest thread: with one of two cores taken, a step of two
    threads took 3.7 s where one thread took 1.9 s (1.0 s on two free cores).
    """

    def __init__(self) -> None:
        self._cores = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else (os.cpu_count() or 1)
        )
        self._mark = self._read()

    def threads(self) -> int:
        """Cores left free by others since the last call, at least 1."""
        before, self._mark = self._mark, self._read()
        wall, busy, own = (now - then for now, then in zip(self._mark, before, strict=True))
        if wall <= 0:
            return self._cores
        return min(self._cores, max(1, round(self._cores - (busy - own) / wall)))

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Seconds: the clock, the machine's busy cores together, and this process's share."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # On Linux guest time is part of user time already.
        guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return time.monotonic(), sum(times) - idle - guest, time.process_time()
