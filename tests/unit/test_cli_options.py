"""Where a command works, and with which settings."""

from __future__ import annotations

from pathlib import Path

from hub.cli.options import Place


def test_a_store_that_is_named_leaves_the_other_settings_of_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "plugins.toml"
    config.write_text("[hub]\nstore = 'sqlite:a.db'\nmax_content_bytes = 2048\nanalysis_workers = 3\nlanguage = 'de'\n")
    place = Place.of(store="sqlite:b.db", url=None, api_key=None, config=config)
    assert place == Place("sqlite:b.db", max_content_bytes=2048, analysis_workers=3, language="de", config=config)
