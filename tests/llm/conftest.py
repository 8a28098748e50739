"""What the tests of asking share."""

import pytest

from vidreason.llm.store import RequestStore


@pytest.fixture
def store(tmp_path):
    """An empty store, in the file `store.sqlite` of the test's folder."""
    with RequestStore(tmp_path / "store.sqlite") as opened:
        yield opened
