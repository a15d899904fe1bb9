"""The bytes behind a path or an address, up to a size: files, object stores, http.

Nothing here waits without end: a server has seconds to go on, and a minute for the whole; what is no file (a pipe, a
device) is not opened. Addresses may hold passwords and signatures, so errors show them without.
"""

from __future__ import annotations

import base64
import http.client
import os
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from infergraph.models.image import UnusableImage
from infergraph.models.model import Message, Request
from infergraph.models.redact import redact, redact_address
from infergraph.store.echoes import QUOTED, without_echoes

SECONDS = 60.0
"""An image behind an address is given up after so long."""
QUIET_S = 20.0
"""A server that says nothing is given up after so long."""
PAUSES_S = (0.2, 1.0)
"""A server that is out of order is asked again after each of these."""
_PIECE = 1024 * 256
_LONGEST_SHOWN = 200
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
"""What reads the object stores that universal-pathlib names no package for in its own words."""


class Late(UnusableImage):
    """The image did not come in time."""


def is_distant(source: str) -> bool:
    """Whether the network may be asked for it.

    Example:
        >>> is_distant("https://example.org/cat.png"), is_distant("file:///tmp/cat.png"), is_distant("cats/1.png")
        (True, False, False)
    """
    scheme, there, _ = source.partition("://")
    return bool(there) and scheme.lower() != "file"


def shown_source(source: str) -> str:
    """A path or address in an error: without passwords and queries, and not too long."""
    return _shortly(redact_address(source) if is_distant(source) else source)


def without_source(message: str, source: str, root: Path) -> str:
    """What is said of an image, without the path or address that a row has.

    Args:
        message: What ``read_image`` said.
        source: The path or address.
        root: Where relative paths start.
    """
    for spelt in (_shortly(str(root / source)), shown_source(source)):
        message = message.replace(spelt, QUOTED)
    return without_echoes(message, Request(messages=(Message("user", f"{root / source}\n{source}"),)))


def _needed(scheme: str, error: ImportError) -> str:
    package = _PACKAGES.get(scheme)
    what = f"the package {package}, which is not installed: pip install {package}" if package else f"a package: {error}"
    return f"{scheme}:// needs {what}"


def _shortly(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "...")


def read_image(source: str, root: Path, most: int, stopped: Callable[[], bool]) -> bytes:
    """The bytes of an image.

    Args:
        source: A path, relative to ``root``, or an address: ``file://``, ``http://``, ``https://`` (a user and
            password in it are sent as basic authentication), or what universal-pathlib opens (``s3://``, ``gs://``,
            ``az://``...).
        root: Where relative paths start.
        most: Bytes at most.
        stopped: Whether the run is over and nobody needs it.

    Raises:
        UnusableImage: It is not there, cannot be read, is larger, or its store needs a package that is not installed.
    """
    if source[:5].lower() == "data:":
        raise UnusableImage(
            "a data: URL is neither a path nor an address; give its bytes: "
            'pl.col(...).str.split(",").list.last().str.decode("base64")'
        )
    scheme = source.partition("://")[0].lower()
    if scheme in ("http", "https") and is_distant(source):
        return _fetched(source, most, stopped)
    if is_distant(source):
        return _opened(source, most)
    path = Path(urllib.request.url2pathname(urlsplit(source).path)) if scheme == "file" and "://" in source else source
    return _file(root / path, most)


def _file(path: Path, most: int) -> bytes:
    try:
        # A pipe would be waited for, and a device may never end.
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UnusableImage(f"{_shortly(str(path))} is no file")
        if found.st_size > most:
            raise UnusableImage(f"it has {found.st_size:,} bytes, and the model takes {most:,}")
        with path.open("rb") as file:
            return _limited(file, most)
    except FileNotFoundError:
        raise UnusableImage(f"there is no file {_shortly(str(path))}") from None
    except (OSError, ValueError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UnusableImage(f"{_shortly(str(path))} cannot be read: {said}") from None


def _limited(file: IO[bytes], most: int) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise UnusableImage(f"it has more than the {most:,} bytes that the model takes")
    return data


def _opened(source: str, most: int) -> bytes:
    from upath import UPath

    try:
        with UPath(source).open("rb") as file:
            return _limited(file, most)
    except UnusableImage:
        raise
    except ImportError as error:
        raise UnusableImage(_needed(source.partition("://")[0].lower(), error)) from None
    except FileNotFoundError:
        raise UnusableImage("there is no such file") from None
    except Exception as error:  # each object store's package raises errors of its own kinds
        raise UnusableImage(redact(f"{type(error).__name__}: {error}")) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """A password goes on to the server that it is for, and to no other one."""
        plain, _ = _plain_address(newurl)
        following = super().redirect_request(req, fp, code, msg, headers, plain)
        credentials = req.unredirected_hdrs.get(_CREDENTIALS)
        if following is not None and credentials and urlsplit(req.full_url)[:2] == urlsplit(plain)[:2]:
            following.add_unredirected_header(_CREDENTIALS, credentials)
        return following


_CREDENTIALS = "Authorization"


def _plain_address(url: str) -> tuple[str, str | None]:
    """The address without user and password, and the header's value that they make; ``None``: it has none."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    given = b":".join(map(unquote_to_bytes, user.split(":", 1) if ":" in user else [user, ""]))
    return urlunsplit(parts._replace(netloc=host)), f"Basic {base64.b64encode(given).decode()}"


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https only: an address in a row, or one that a server sends us on to, is no way to a file."""
    import ssl

    import certifi

    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    trusted = ssl.create_default_context(cafile=None if named else certifi.where())
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=trusted),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "infergraph"), ("Accept", "image/*")]
    return opener


_NO_ADDRESS = (
    "its address is not valid: spaces stand in it as %20, letters beyond ASCII as in %C3%BC, and / : @ ? # in a user's "
    "name or password as %2F %3A %40 %3F %23"
)
_NO_WAY_ON = ", and sends on to what is no http or https address, or in a circle"


def _fetched(url: str, most: int, stopped: Callable[[], bool]) -> bytes:
    opener = _opener()
    until = time.monotonic() + SECONDS
    for pause in (*PAUSES_S, None):
        try:
            return _downloaded(opener, url, most, until, stopped)
        except UnusableImage:
            raise
        except urllib.error.HTTPError as error:
            # Of a redirect that is not followed the reason quotes the address, which may be signed.
            redirect = 300 <= error.code < 400
            problem = UnusableImage(f"the server says {error.code}{_NO_WAY_ON if redirect else f' {error.reason}'}")
            passing = error.code == 429 or error.code >= 500
            error.close()
        except TimeoutError:
            problem, passing = Late("the server gave no answer in time"), True
        except urllib.error.URLError as error:
            late = isinstance(error.reason, TimeoutError)
            problem = Late("the server gave no answer in time") if late else UnusableImage(f"{error.reason}")
            passing = True
        except (http.client.InvalidURL, ValueError):
            # Their own texts quote the part that they do not understand, which may be of a password.
            problem, passing = UnusableImage(_NO_ADDRESS), False
        except (OSError, http.client.HTTPException) as error:
            problem, passing = UnusableImage(f"{type(error).__name__}: {_said(error, url)}"), isinstance(error, OSError)
        if not passing or pause is None or stopped() or time.monotonic() + pause > until:
            break
        time.sleep(pause)
    raise problem


def _said(error: Exception, url: str) -> str:
    return str(error).replace(url, redact_address(url))


def _downloaded(
    opener: urllib.request.OpenerDirector, url: str, most: int, until: float, stopped: Callable[[], bool]
) -> bytes:
    data = bytearray()
    plain, credentials = _plain_address(url)
    asked = urllib.request.Request(plain)
    if credentials is not None:
        asked.add_unredirected_header(_CREDENTIALS, credentials)
    with opener.open(asked, timeout=QUIET_S) as reply:
        while piece := reply.read1(_PIECE):
            data += piece
            if len(data) > most:
                raise UnusableImage(f"it has more than the {most:,} bytes that the model takes")
            if stopped() or time.monotonic() > until:
                raise Late("the server gave no answer in time")
    return bytes(data)
