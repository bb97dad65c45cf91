"""The CRS that polygons are brought to, as users write it and as libraries take it."""

from pyproj import CRS
from pyproj.exceptions import CRSError

from geounet.errors import ConfigError


def target_crs(text: str) -> str:
    """A CRS that polygons can be brought to, in a form that every library understands.

    Args:
        text: whatever PROJ takes, such as ``EPSG:25832``, ``4326`` or a name.

    Returns:
        Authority and code, or WKT where the CRS has none.

    Raises:
        ConfigError: PROJ does not know it, or it is none of maps: geocentric, of heights alone.
    """
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise ConfigError(f"{text!r} is no CRS that PROJ knows; write it like EPSG:4326") from error
    if not (crs.is_projected or crs.is_geographic):
        raise ConfigError(
            f"{text!r} ({crs.name}) is neither projected nor geographic; polygons need"
            " a CRS of maps, such as EPSG:4326"
        )
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else str(crs.to_wkt())
