"""Results that are kept in a file, by name: what was not measured again stays."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def keep(file: str, name: str, row: dict[str, Any]) -> None:
    """Print what was measured of `name`, and put it into RESULTS/`file`, whose other names and values stay."""
    print(name, json.dumps(row), flush=True)
    path = RESULTS / file
    known = json.loads(path.read_text()) if path.exists() else {}
    known[name] = known.get(name, {}) | row
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
