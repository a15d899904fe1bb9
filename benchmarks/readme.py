"""Puts the newest tables of ``results/*.json`` into README.md, each between its marks."""

from __future__ import annotations

import json
import re
from pathlib import Path

from measuring import RESULTS, table_of

README = Path(__file__).with_name("README.md")


def main() -> None:
    """Rewrite the page in place."""
    page = README.read_text()
    for path in sorted(RESULTS.glob("*.json")):
        found = json.loads(path.read_text())
        said = f"{found['title']} ({found['machine']}, {found['date']}).\n\n{table_of(found['rows'])}"
        block = f"<!-- {path.stem} -->\n{said}\n<!-- end -->"
        page = re.sub(rf"<!-- {path.stem} -->.*?<!-- end -->", block.replace("\\", r"\\"), page, flags=re.DOTALL)
    README.write_text(page)


if __name__ == "__main__":
    main()
