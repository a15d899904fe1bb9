"""A run's own files on a disk that is full or read-only: an error whose owner can act, not a bug."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polars.exceptions import ComputeError

from infergraph.errors import ConfigurationError

_FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# Polars hands a system's error on as text, sometimes inside one of its own.
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def disk_trouble(*places: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a message that names the places and the next step.

    Args:
        places: Where files are written.

    Raises:
        ConfigurationError: The disk of one of them takes no more.
    """
    try:
        yield
    except (OSError, ComputeError) as error:
        number = _number(error)
        if number not in _FULL_OR_CLOSED:
            raise
        where = " or ".join(map(str, places))
        said = f"The files of this run cannot be written to {where}: {os.strerror(number)}. Make room there."
        raise ConfigurationError(" ".join([said, *getattr(error, "__notes__", [])])) from error


def _number(error: OSError | ComputeError) -> int:
    """The system's number of an error, 0 where it has none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _SYSTEM_ERROR.search(str(error))
    return int(found[1]) if found else 0
