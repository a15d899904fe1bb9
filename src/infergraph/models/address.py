"""What a model's ``base_url`` may be: a plain address, with nothing in it that would end up in a message or a log."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from infergraph.errors import ConfigurationError
from infergraph.models.redact import redact_address

_LOOKS_LIKE = "It looks like 'http://gpu-box:8000/v1'."


def check_address(model: str, base_url: str) -> SplitResult:
    """The parts of a ``base_url`` that may be used.

    Args:
        model: ``provider:model-id``, for the message.
        base_url: The address.

    Returns:
        Its parts.

    Raises:
        ConfigurationError: It is none, its port is none, or it carries a user, a query or a fragment.

    Example:
        >>> check_address("openai:m", "http://gpu-box:8000/v1").port
        8000
    """
    said = f"Model({model!r}, base_url={redact_address(str(base_url))!r})"
    if not isinstance(base_url, str) or not base_url.isprintable() or " " in base_url:
        raise ConfigurationError(f"{said}: this is no address of a server. {_LOOKS_LIKE}")
    try:
        parts = urlsplit(base_url)
        # Only reading the port shows that it is one.
        usable = parts.port is None or parts.port > 0
    except ValueError:
        parts, usable = urlsplit(""), False
    if "@" in (parts.netloc or base_url):
        raise ConfigurationError(
            f"{said}: an address holds no user and no password. Leave them out and give api_key='...', which is sent "
            "as 'Authorization: Bearer ...'."
        )
    if not usable:
        raise ConfigurationError(f"{said}: this is no address, its host or port is wrong (a port is 1 to 65535).")
    if "?" in base_url or "#" in base_url:
        raise ConfigurationError(
            f"{said}: paths are added to its end, so it has no query and no fragment. Leave out what follows "
            f"{'?' if '?' in base_url else '#'!r}; a key goes into api_key='...'."
        )
    return parts


def check_server_address(model: str, base_url: str | None) -> None:
    """Raise ``ConfigurationError`` where a ``base_url`` is given that is no address of an HTTP server."""
    if base_url is None:
        return
    parts = check_address(model, base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"Model({model!r}, base_url={base_url!r}): this is no address of a server. {_LOOKS_LIKE}"
        )
