"""What holds for every test.

A test that needs a server which is not there skips, and its reason says `make services`. With AIME_REQUIRE_SERVICES=1
(`make test-all`) such a skip is a failure: a green run then means that everything was really tried. Skips for other
reasons, such as a data set that is not part of this repository, stay skips.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.postgres_rig import drop_database, new_database

REMEDY = "make services"


R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


def _insist(report: R) -> R:
    if report.skipped and os.environ.get("AIME_REQUIRE_SERVICES") == "1" and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if REMEDY in reason:
            report.outcome = "failed"
            report.longrepr = f"AIME_REQUIRE_SERVICES=1 and a service is missing: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _insist((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _insist((yield))


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The URL of a PostgreSQL database of the test's own; indexes of it are kept below the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = await new_database()
    yield url
    await drop_database(url)
