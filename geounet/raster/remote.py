"""Scenes that GDAL reads over the network, block by block, without fetching the whole file."""

import os
from pathlib import PurePosixPath
from urllib.parse import urlsplit

_PREFIXES = {
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
    "s3": "/vsis3/",
    "az": "/vsiaz/",
    "gs": "/vsigs/",
}
_ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/", "/vsi7z/", "/vsirar/")
_SETTINGS = {
    # A server's folder is not listed, and no side-car file is asked for.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # The header and the tags of most COGs come with the first request.
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    # A server that sends nothing for so long is given up, then tried again.
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": str(32 << 20),
}


def is_remote(uri: str) -> bool:
    """Whether a scene is read over the network."""
    return _is_address(uri) or uri.startswith("/vsi")


def gdal_name(uri: str) -> str:
    """What GDAL calls a scene: its virtual file system for ``http(s)://``, ``s3://``, ``az://`` and
    ``gs://``, the name itself for files and names that are GDAL's already.

    Credentials are GDAL's own business: environment variables, ``~/.aws`` and the like.
    """
    scheme, _, rest = uri.partition("://")
    return _PREFIXES[scheme] + rest if _is_address(uri) else uri


def is_served(uri: str) -> bool:
    """Whether a scene lies on a server by itself, not in an archive, which may be a local one."""
    return is_remote(uri) and not uri.startswith(_ARCHIVES)


def shown_name(name: str) -> str:
    """What GDAL calls a scene as the user knows it: an address, without the query of a signed one,
    whose token is for nobody's log; the name itself of anything else.
    """
    for scheme, prefix in _PREFIXES.items():
        if name.startswith(prefix):
            return f"{scheme}://{name.removeprefix(prefix)}".partition("?")[0]
    return name


def file_name(uri: str) -> str:
    """The last part of a path or address, without the query of a signed address."""
    path = urlsplit(uri).path if _is_address(uri) else uri
    return PurePosixPath(path.replace(os.sep, "/")).name


def _is_address(uri: str) -> bool:
    scheme, mark, _ = uri.partition("://")
    return bool(mark) and scheme in _PREFIXES  # a folder may be called s3


def gdal_settings(uri: str) -> dict[str, str]:
    """GDAL's settings for reading a scene; the user's own environment variables win."""
    if not is_remote(uri):
        return {}
    settings = dict(_SETTINGS)
    if uri.startswith(_ARCHIVES):
        # Side-car files lie in the archive too, and it is no GeoTIFF itself.
        del settings["GDAL_DISABLE_READDIR_ON_OPEN"]
        return {key: value for key, value in settings.items() if key not in os.environ}
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix in (".tif", ".tiff"):
        # Nothing else is asked of the server. A signed address ends otherwise.
        settings["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = ".tif,.tiff,.TIF,.TIFF"
    return {key: value for key, value in settings.items() if key not in os.environ}
