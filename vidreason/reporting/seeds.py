"""Independent seeds, derived by name from one for everything."""

from __future__ import annotations

import hashlib
import operator


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed for one part of a study, the same on every machine and in every process.

    Parts do not share random numbers by accident, and adding a part does not move the others.

    Args:
        seed: Seed of the whole study.
        names: Names that tell this part from others, such as ("weizmann", fold, "augmentation"). The text "1" and
            the number 1 are different names.

    Returns:
        A number in [0, 2**32), which NumPy's older generator also takes.
    """
    # a NumPy number names the same part as a Python number
    plain = [str(name) if isinstance(name, str) else operator.index(name) for name in (seed, *names)]
    # repr keeps the border between names, so that ("a", "bc") and ("ab", "c") differ
    digest = hashlib.sha256(repr(plain).encode("utf-8")).digest()
    return int.from_bytes(digest[:4], "little")
