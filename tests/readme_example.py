"""Prints the Python example of README.md, which CI has mypy and tests have Python check.

python -m tests.readme_example
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def example() -> str:
    """The first indented block that imports edge_adapt."""
    found = re.search(r"^    import edge_adapt\n(?:    .*\n|\n)+", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return textwrap.dedent(found[0])


if __name__ == "__main__":
    print(example())
