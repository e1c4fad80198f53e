"""The suite's own rule about missing services, run on small suites."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SUITE = """
    import pytest

    def test_asks_a_server():
        pytest.skip("PostgreSQL is not there: `make services` installs and starts it")

    def test_reads_a_data_set():
        pytest.skip("the 2wiki data set is not there")
"""


def test_a_missing_service_is_a_skip_that_names_the_remedy(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIME_REQUIRE_SERVICES", raising=False)
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_inprocess("-ra", "-p", "no:cacheprovider", "-p", "no:asyncio")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*make services*"])


def test_when_services_are_required_a_missing_one_fails_and_a_missing_data_set_does_not(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIME_REQUIRE_SERVICES", "1")
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(SUITE)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio").assert_outcomes(failed=1, skipped=1)


def test_a_whole_module_that_skips_for_a_service_fails_when_services_are_required(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIME_REQUIRE_SERVICES", "1")
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile('import pytest\npytest.skip("needs `make services`", allow_module_level=True)')
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio").assert_outcomes(errors=1)
