"""Which rasters a command line names: files, folders and patterns."""

import glob
import os
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
        SceneError: a folder or pattern holds no scene, or may not be read; or a name is empty.
    """
    return _found(names, _is_scene, _is_scene, " or ".join(SUFFIXES) + " file")


def find_masks(names: list[str]) -> list[str]:
    """As :func:`find_scenes`, for masks: a folder stands for its ``*_mask.tif``.

    Raises:
        SceneError: a folder or pattern holds no mask, or may not be read; or a name is empty.
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
        if not name:  # which would be the current folder, and mostly comes from an unset variable
            raise SceneError("'': an empty name; name a file or folder ('.' for the current one)")
        if is_remote(name):
            found[name] = None
        elif os.path.isdir(name):  # noqa: PTH112 (Path.is_dir raises where it may not look)
            paths = [item for item in _listed(Path(name)) if wanted(item)]
            if not paths:
                raise SceneError(f"{name}: holds no {kind}; name another folder")
            found.update((str(path), None) for path in paths)
        elif glob.has_magic(name) and not os.path.exists(name):  # noqa: PTH110 (as above)
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (absolute patterns)
            paths = [Path(match) for match in matches if matched(Path(match))]
            if not paths:
                raise SceneError(f"{name}: matches no {kind}; check the pattern")
            found.update((str(path), None) for path in paths)
        else:
            found[name] = None
    return list(found)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SceneError(
            f"{folder}: cannot be listed ({error.strerror}); ask for access, or name its files"
        ) from error


def _is_raster(path: Path) -> bool:
    named = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    return named and os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises in closed folders)


def _is_mask(path: Path) -> bool:
    return _is_raster(path) and path.stem.endswith("_mask")


def _is_scene(path: Path) -> bool:
    if not _is_raster(path):
        return False
    stem = path.stem.removesuffix("_mask").removesuffix("_probabilities")
    return stem == path.stem or not any(
        os.path.exists(path.with_name(stem + path.suffix[:1] + ending))  # noqa: PTH110
        for ending in ("tif", "tiff", "TIF", "TIFF")
    )
