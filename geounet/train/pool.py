"""The scenes of one source, and how windows are drawn from them by class."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from geounet.errors import ConfigError
from geounet.legend import Legend
from geounet.train.scenes import LabelledScene
from geounet.train.sources import SourceConfig, TownConfig


@dataclass(frozen=True, eq=False)
class Pool:
    """The scenes of one source."""

    scenes: tuple[LabelledScene, ...]
    share: float
    gsd: tuple[float, float]
    hold: Mapping[int, float] = field(default_factory=dict)
    """Label set of one class -> share of the windows that must hold it."""

    def due(self, rng: np.random.Generator) -> int | None:
        """The label set that the next window must hold, or None; without shares, no number is
        drawn, so that runs without them see what they always saw.
        """
        if not self.hold:
            return None
        ends = np.cumsum(list(self.hold.values()))
        index = int(np.searchsorted(ends, rng.random(), side="right"))
        return list(self.hold)[index] if index < len(ends) else None

    def draw(
        self, rng: np.random.Generator, due: int | None = None
    ) -> tuple[LabelledScene, float, float]:
        """A scene and the (column, row) of one of its labelled pixels.

        Without a label set that is due, sets of one class are drawn equally often, sets that leave
        several open half as often; then scenes by the root of how much of the set they hold.
        """
        value = self._any(rng) if due is None else due
        weight = np.sqrt([scene.counts.get(value, 0) for scene in self.scenes])
        scene = self.scenes[rng.choice(len(self.scenes), p=weight / weight.sum())]
        row, col = divmod(int(rng.choice(scene.spots[value])), scene.shape[1])
        return scene, float(col), float(row)

    def _any(self, rng: np.random.Generator) -> int:
        sets = sorted({value for scene in self.scenes for value in scene.counts})
        chance = np.array([1.0 if value.bit_count() == 1 else 0.5 for value in sets])
        return sets[rng.choice(len(sets), p=chance / chance.sum())]


def pool_of(
    scenes: Iterable[LabelledScene], source: SourceConfig | TownConfig, legend: Legend
) -> Pool:
    """The pool of a source.

    Raises:
        ConfigError: windows must hold a class that no pixel of the scenes is labelled as, alone;
            or no pixel is labelled at all.
    """
    kept = tuple(scenes)
    if source.share > 0 and not any(scene.counts for scene in kept):
        raise ConfigError(
            f"source {source.name!r}: no pixel of its {len(kept)} scenes has both data and a label"
        )
    hold = {}
    for name, share in source.hold.items():
        value = 1 << legend.names.index(legend[name].name)
        if not any(value in scene.counts for scene in kept):
            raise ConfigError(
                f"source {source.name!r}: hold.{name}: no pixel of its scenes is labelled {name}"
                " alone; leave the class out of hold"
            )
        hold[value] = share
    return Pool(kept, source.share, source.gsd, hold)
