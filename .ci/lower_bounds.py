"""Print the lowest versions that pyproject.toml declares, as constraints for pip; see `make test-lower`."""

import re
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"

if __name__ == "__main__":
    # by an expression and not `tomllib`, which Python 3.10 does not have
    bounds = re.findall(r'"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)[^"]*"', PYPROJECT.read_text(encoding="utf-8"))
    print("\n".join(f"{name}=={version}" for name, version in sorted(set(bounds))))
