"""fenic in an environment of its own, made on first use: it is no dependency of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

_PROJECT = Path(__file__).parent.parent
_FENIC = _PROJECT / ".infergraph" / "benchmarks" / "fenic"


def fenic_python() -> str | None:
    """The interpreter of fenic's environment; ``None``: it cannot be made, which is said."""
    python = _FENIC / "bin" / "python"
    if not (_FENIC / "complete").exists():
        print(f"Installing fenic into {_FENIC.relative_to(_PROJECT)} (once) ...")
        install = ["uv", "pip", "install", "--quiet", "--python", str(python), "fenic==0.13.*", "litellm"]
        try:
            subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", "3.11", str(_FENIC)], check=True)
            subprocess.run(install, check=True)
        except (OSError, subprocess.CalledProcessError) as failure:
            print(f"fenic is left out: it could not be installed ({failure}).")
            return None
        (_FENIC / "complete").touch()
    return str(python)
