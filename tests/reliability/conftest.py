"""Short or full length."""

from __future__ import annotations

import pytest

from tests.reliability.effort import Effort


@pytest.fixture(scope="session")
def effort(request: pytest.FixtureRequest) -> Effort:
    """Short in the default suite, full where ``--torture`` is given."""
    return Effort(torture=request.config.getoption("--torture"))
