"""Makes the small copies of known data sets, which the tests of `vidreason.video` have too, importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "video"))
