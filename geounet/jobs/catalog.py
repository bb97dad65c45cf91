"""Which scenes a command line names: files, folders and patterns."""

import glob
from pathlib import Path

from geounet.errors import SceneError

SUFFIXES = (".tif", ".tiff")


def find_scenes(names: list[str]) -> list[str]:
    """Expand folders and glob patterns, in the order given, each scene once.

    A folder stands for the GeoTIFFs directly inside it. ``x_mask.tif`` is left out where ``x.tif``
    lies beside it: it is that scene's mask, not a scene. A name that is neither is passed on as it
    is, so that a missing file fails with its own name while the other scenes are done.

    Raises:
        SceneError: a folder or pattern holds no scene.
    """
    found: dict[str, None] = {}
    for name in names:
        if Path(name).is_dir():
            paths = [item for item in sorted(Path(name).iterdir()) if _is_scene(item)]
            if not paths:
                raise SceneError(
                    f"{name}: holds no {' or '.join(SUFFIXES)} file; name another folder"
                )
            found.update((str(path), None) for path in paths)
        elif glob.has_magic(name) and not Path(name).exists():
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (absolute patterns)
            paths = [Path(match) for match in matches if _is_scene(Path(match))]
            if not paths:
                raise SceneError(
                    f"{name}: matches no {' or '.join(SUFFIXES)} file; check the pattern"
                )
            found.update((str(path), None) for path in paths)
        else:
            found[name] = None
    return list(found)


def _is_scene(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
        return False
    stem = path.stem.removesuffix("_mask")
    return stem == path.stem or not any(
        path.with_name(stem + path.suffix[:1] + ending).exists()
        for ending in ("tif", "tiff", "TIF", "TIFF")
    )
