"""The scenes of a run: found, described, and read into memory where it suffices."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from geounet.errors import ConfigError, SceneError
from geounet.legend import Legend
from geounet.raster.scene import Scene, choose_bands, describe
from geounet.raster.stretch import scene_stretch
from geounet.train.config import TrainConfig
from geounet.train.labels import find_sets, mask_of
from geounet.train.network import model_spec
from geounet.train.pixels import FilePixels, HeldPixels
from geounet.train.pool import Pool, pool_of
from geounet.train.scenes import LabelledScene, make_scene
from geounet.train.sources import SourceConfig, TownConfig
from geounet.train.texture import Sets, narrow

_TOWN_GSD = 0.5
_SCALES = 32.0
"""Windows may be this many times as coarse or as fine as their scene: the pyramid's last level is
8 times as coarse, and what a window reads of it grows with the square."""


def find_images(source: SourceConfig, data: Path) -> list[Path]:
    """The images of a source, sorted; patterns that match nothing are errors."""

    def glob(pattern: str) -> list[Path]:
        try:
            return list(data.glob(pattern))
        except (ValueError, IndexError, NotImplementedError) as error:
            raise ConfigError(
                f"source {source.name!r}: {pattern!r} is no path or pattern below {data}"
            ) from error

    found: set[Path] = set()
    for pattern in source.images:
        matches = [path for path in glob(pattern) if not path.stem.endswith("_mask")]
        if not matches:
            raise ConfigError(f"source {source.name!r}: no image {pattern!r} below {data}")
        found.update(matches)
    if source.masks:
        # Masks in the images' folder match a pattern of images too.
        found -= {mask_of(path, source, data) for path in found}
    for pattern in source.exclude:
        found.difference_update(glob(pattern))
    return sorted(found)


def load_pools(config: TrainConfig) -> list[Pool]:
    """The training scenes of a run; check scenes are refused here."""
    data, legend = Path(config.data), Legend(config.legend)
    checked = {path for item in config.check for path in find_images(item, data)}
    for source in config.source:
        if both := checked.intersection(find_images(source, data)):
            raise ConfigError(f"{min(both)} is both trained on and checked; exclude it from one")
    town_sets: list[int] = []
    if config.town is not None:
        _check_scales(config.town, "a town", _TOWN_GSD, config.network.resolution)
        town_sets = _town_sets(config.town, legend)
    groups = load_scenes(config, config.source)
    pools = [
        pool_of(scenes, source, legend)
        for scenes, source in zip(groups, config.source, strict=True)
        if scenes
    ]
    if not pools:
        raise ConfigError("no scene is left to train on; exclude fewer")
    if config.town is not None:
        pools.append(pool_of(make_towns(config.town, town_sets), config.town, legend))
    if not any(pool.share > 0 for pool in pools):
        lost = ", ".join(repr(source.name) for source in config.source if source.share > 0)
        raise ConfigError(
            f"source {lost}: exclude leaves no scene, and no other source has a share; exclude"
            " fewer, or give another a share above 0"
        )
    return pools


def load_scenes(
    config: TrainConfig, sources: Sequence[SourceConfig]
) -> list[tuple[LabelledScene, ...]]:
    """The scenes of each source, the small ones in memory, see ``fit.scene_memory``.

    Raises:
        SceneError: a scene cannot be opened, or has too few bands.
        LabelError: labels cannot be used, see :func:`~geounet.train.labels.find_sets`.
        ConfigError: a scene must be in memory and is too large, or has no labelled pixel.
    """
    data, bands = Path(config.data), len(config.network.bands)
    groups = [[_described(path, bands) for path in find_images(item, data)] for item in sources]
    small = _small([scene for group in groups for scene in group], config)
    return [
        tuple(_load(scene, source, config, scene.uri in small) for scene in group)
        for group, source in zip(groups, sources, strict=True)
    ]


def _described(path: Path, bands: int) -> Scene:
    scene = describe(path)
    if scene.bands < bands:
        raise SceneError(f"{path}: {bands} bands needed, {scene.bands} found")
    return scene


def _small(scenes: Sequence[Scene], config: TrainConfig) -> set[str]:
    """The scenes that fit into the memory for them, the smallest first."""
    left = config.fit.scene_memory * 2**20
    result = set()
    for scene in sorted(scenes, key=lambda item: (item.height * item.width, item.uri)):
        # The pyramid adds a third to the bands; labels, and where there is data, take a byte each.
        left -= scene.height * scene.width * (4 * len(config.network.bands) // 3 + 2)
        if left < 0:
            break
        result.add(scene.uri)
    return result


def _load(scene: Scene, source: SourceConfig, config: TrainConfig, held: bool) -> LabelledScene:
    """A scene with its labels. One without a CRS has the model's resolution: prediction takes it as
    it is; of a model without one, 1 m.
    """
    legend, spec = Legend(config.legend), model_spec(config)
    gsd = scene.georef.gsd or config.network.resolution or 1.0
    _check_scales(source, scene.uri, gsd, config.network.resolution)
    bands = choose_bands(scene, config.network.bands, source.bidx)
    files = FilePixels(
        scene,
        bands,
        find_sets(scene, source, Path(config.data), legend),
        tuple(round(255 * value) for value in config.network.mean),
        scene_stretch(scene, bands, spec.dtype, spec.value_range),
    )
    pixels = files.held() if held else files
    if source.texture:
        if not isinstance(pixels, HeldPixels):
            raise ConfigError(
                f"{scene.uri}: texture looks at a whole scene, and this one does not fit into"
                f" fit.scene_memory = {config.fit.scene_memory} MiB; raise it, or cut the scene"
            )
        sets = Sets(*(1 << legend.names.index(item.name) for item in fields(Sets)))
        narrowed = narrow(pixels.levels[0][:3], pixels.sets, gsd, sets)
        pixels = replace(pixels, sets=narrowed)
    name, aspect = Path(scene.uri).stem, scene.georef.aspect
    return make_scene(name, pixels, gsd, files.reader.areas, aspect=aspect)


def _check_scales(
    source: SourceConfig | TownConfig, where: str, gsd: float, resolution: float
) -> None:
    for given in source.gsd:
        value, key = (given, "gsd") if given else (resolution, "gsd (network.resolution)")
        # Without either, windows are as coarse as their scene.
        if value and not gsd / _SCALES <= value <= gsd * _SCALES:
            raise ConfigError(
                f"source {source.name!r}: {key} {value:g} is more than {_SCALES:g} times coarser or"
                f" finer than the {gsd:.3g} m of {where}; give {gsd / _SCALES:.2g} to"
                f" {gsd * _SCALES:.2g}"
            )


def make_towns(config: TownConfig, sets: Sequence[int]) -> list[LabelledScene]:
    """Synthetic scenes with full labels; ``sets`` are the label sets of their classes."""
    from geounet.train.town import make_town

    scenes = []
    for seed in range(config.seed, config.seed + config.scenes):
        image, mask = make_town(seed, config.size, config.size, _TOWN_GSD)
        labels = np.array(sets, np.uint8)[mask]
        scenes.append(make_scene(f"town {seed}", HeldPixels.of(image, labels), _TOWN_GSD))
    return scenes


def _town_sets(config: TownConfig, legend: Legend) -> list[int]:
    """The label set of each class of a town.

    Raises:
        ConfigError: it is not said what one is that the legend lacks: taught the others alone, a
            network would take all it sees in towns for those.
    """
    from geounet.train.town import CLASSES

    if unknown := [name for name in config.labels if name not in CLASSES]:
        raise ConfigError(f"town.labels.{unknown[0]} is unknown; known: {', '.join(CLASSES)}")
    known = {*config.labels, *legend.names}
    if lacking := [name for name in CLASSES if name not in known]:
        raise ConfigError(
            f"[town] shows {', '.join(lacking)}, which the legend lacks; say in town.labels which"
            f' classes they are, such as {lacking[0]} = ["{legend.names[0]}"], [] to ignore them,'
            " or leave [town] out"
        )
    bits = {name: 1 << index for index, name in enumerate(legend.names)}
    meant = [{legend[item].name for item in config.labels.get(name, (name,))} for name in CLASSES]
    return [sum(bits[item] for item in items) for items in meant]
