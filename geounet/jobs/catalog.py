"""Which rasters a command line names: files, folders and patterns."""

import glob
from collections.abc import Callable
from pathlib import Path

from geounet.errors import SceneError
from geounet.raster.remote import is_remote

SUFFIXES = (".tif", ".tiff")


def find_scenes(names: list[str]) -> list[str]:
    """Expand folders and glob patterns, in the order given, each scene once.

    A folder stands for the GeoTIFFs directly inside it. ``x_mask.tif`` and ``x_probabilities.tif``
    are left out where ``x.tif`` lies beside them: they are that scene's results, not scenes. A name
    that is neither is passed on as it is, so that a missing file fails with its own name while the
    other scenes are done. So are addresses, in which ``?`` and ``*`` mean themselves.

    Raises:
        SceneError: a folder or pattern holds no scene.
    """
    return _found(names, _is_scene, _is_scene, " or ".join(SUFFIXES) + " file")


def find_masks(names: list[str]) -> list[str]:
    """As :func:`find_scenes`, for masks: a folder stands for its ``*_mask.tif``.

    Raises:
        SceneError: a folder or pattern holds no mask.
    """
    return _found(names, _is_mask, _is_raster, "mask (*_mask.tif)")


def _found(
    names: list[str],
    wanted: Callable[[Path], bool],
    matched: Callable[[Path], bool],
    kind: str,
) -> list[str]:
    """Names expanded: what is ``wanted`` of folders, and ``matched`` of patterns."""
    found: dict[str, None] = {}
    for name in names:
        if is_remote(name):
            found[name] = None
        elif Path(name).is_dir():
            paths = [item for item in sorted(Path(name).iterdir()) if wanted(item)]
            if not paths:
                raise SceneError(f"{name}: holds no {kind}; name another folder")
            found.update((str(path), None) for path in paths)
        elif glob.has_magic(name) and not Path(name).exists():
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (absolute patterns)
            paths = [Path(match) for match in matches if matched(Path(match))]
            if not paths:
                raise SceneError(f"{name}: matches no {kind}; check the pattern")
            found.update((str(path), None) for path in paths)
        else:
            found[name] = None
    return list(found)


def _is_raster(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _is_mask(path: Path) -> bool:
    return _is_raster(path) and path.stem.endswith("_mask")


def _is_scene(path: Path) -> bool:
    if not _is_raster(path):
        return False
    stem = path.stem.removesuffix("_mask").removesuffix("_probabilities")
    return stem == path.stem or not any(
        path.with_name(stem + path.suffix[:1] + ending).exists()
        for ending in ("tif", "tiff", "TIF", "TIFF")
    )
