"""`plugins.toml` into models, and what a person is told about a mistake in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from core.errors import ConfigError, ConfigErrors
from hub.config import Config, check_exposure, load_config, parse_listen
from hub.sdk import ConnectorConfig
from hub.toml_table import Table

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "plugins.toml"
        path.write_text(text)
        return path

    return write


def complaints(path: Path) -> list[tuple[int, str]]:
    """Line and sentence of each error."""
    with pytest.raises(ConfigErrors) as raised:
        load_config(path)
    return [(int(error.where.rpartition(":")[2]), error.reason) for error in raised.value.errors]


# ---------------------------------------------------------------- what is read


def test_an_empty_file_is_the_defaults(write: Write) -> None:
    config = load_config(write(""))
    assert config.hub == Config().hub
    assert config.hub.listen == "127.0.0.1:8080"
    assert not config.connectors


def test_the_hubs_keys_are_taken_and_the_others_are_left_to_the_kind(write: Write) -> None:
    config = load_config(
        write(
            """
            [hub]
            keep_history = "1d12h"
            [connectors.blog]
            kind = "feed"
            every = "15m"
            prune = "6h"
            url = "https://example.com/feed"
            notify.events = ["document.deleted"]
            """
        )
    )
    blog = config.connectors["blog"]
    assert (blog.every, blog.prune, blog.document_source) == (timedelta(minutes=15), timedelta(hours=6), "blog")
    assert blog.table.values == {
        "url": "https://example.com/feed",
        "notify": {"events": ["document.deleted"]},
    }
    assert config.hub.keep_history == timedelta(hours=36)


@pytest.mark.parametrize(
    ("written", "interval"), [("true", timedelta(days=1)), ("false", None), ('"90s"', timedelta(seconds=90))]
)
def test_prune_is_a_switch_or_an_interval(write: Write, written: str, interval: timedelta | None) -> None:
    config = load_config(write(f'[connectors.a]\nkind = "feed"\nprune = {written}'))
    assert config.connectors["a"].prune == interval


def test_an_instance_is_the_same_wherever_it_stands_in_the_file(write: Write) -> None:
    before = load_config(write('[connectors.a]\nkind = "feed"\nurl = "x"')).connectors["a"]
    after = load_config(write('# a word\n\n[hub]\n[connectors.a]\nurl = "x"\nkind = "feed"')).connectors["a"]
    edited = load_config(write('[connectors.a]\nkind = "feed"\nurl = "y"')).connectors["a"]
    assert before == after
    assert before != edited


def test_a_file_written_on_windows_is_read(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_bytes(b'\xef\xbb\xbf[hub]\r\nlisten = "[::1]:0"\r\nx = 1\r\n')
    assert complaints(path) == [(3, "hub.x is not a setting")]


def test_the_command_line_overrides_the_file_and_is_checked_too() -> None:
    assert Config().override(store="sqlite:b.db", listen="localhost:1").hub.store == "sqlite:b.db"
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Config().override(listen="8080")


# ---------------------------------------------------------------- what is refused


def test_every_mistake_is_reported_at_once_with_its_line_and_the_nearest_right_name(write: Write) -> None:
    path = write(
        """[hub]
lisen = "127.0.0.1:1"
drain_seconds = -1

[connectors.blog]
every = "15 minutes"

[connectors.api]
kind = "feed"

[conectors.crm]
kind = "webhook"
"""
    )
    assert complaints(path) == [
        (2, 'hub.lisen is not a setting; did you mean "listen"?'),
        (3, "hub.drain_seconds is not right: must be greater than 0"),
        (5, "connectors.blog.kind is required"),
        (6, 'connectors.blog.every is not right: must be a duration such as "30s", "15m", "1h30m" or "7d"'),
        (8, "connectors.api is a name of the hub's own; choose another"),
        (11, 'conectors is not a setting; did you mean "connectors"?'),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (
            '[connectors.a]\nkind="feed"\n[connectors.b]\nkind="x"\n[connectors.a]\n',
            5,
            "[connectors.a] is declared a second time",
        ),
        ("[hub]\nlisten = \n", 2, "Invalid value"),
        ("[hub]\nstore = '''x\n\n", 4, "Expected \"'''\""),
        ("hub = 3\n", 1, "hub must be a table"),
        ("[connectors]\na = 3\n", 2, "connectors.a must be a table"),
        ('[connectors."a b"]\nkind="feed"', 1, "is no name for a connector"),
        ('[connectors.a]\nkind="feed"\nevery="1h"\ncron="* * * * *"', 1, "exclude each other"),
        ('[connectors.a]\nkind="feed"\ncron="61 * * * *"', 3, "must be a cron expression"),
        ('[connectors.a]\nkind="feed"\nallow_networks=["10.0.0.0/8",\n"x"]', 4, "connectors.a.allow_networks.1"),
        ('[hub]\ncallbacks.secret = "not base64!"', 2, "hub.callbacks.secret"),
        ('[hub]\nlisten = "127.0.0.1"', 2, "HOST:PORT"),
        ('[hub]\ncallbacks = "on"', 2, "hub.callbacks is not right: must be a table"),
        ('[hub]\nlanguage = "the usual one"', 2, "must name a language"),
        ('[connectors.a]\nkind="feed"\nanswers.form = "poem"', 3, "'support' or 'research'"),
        ('[connectors.a]\nkind="feed"\nanswers.sources = ["a"]', 3, "answers.form"),
        ('[projection]\nurl = "http://graph:8182"', 2, "ws://127.0.0.1:8182/gremlin"),
        ('[projection]\nurl = "ws://user:secret@graph:8182/gremlin"', 2, "projection.url"),
        ('[projection]\nurl = "ws://graph:8182"\nchunk = true', 3, "chunks"),
        ("[projection]\nchunks = true", 1, "projection.url"),
        ('[model]\nkind = "bedrok"\nregion = "eu-central-1"\nmodel_id = "m"', 2, 'did you mean "bedrock"?'),
        ('[model]\nkind = "bedrock"\nregion = "Frankfurt"\nmodel_id = "m"', 3, "model.region"),
        ('[model]\nkind = "bedrock"\nregion = "eu-central-1"\nmodel = "m"', 4, 'did you mean "model_id"?'),
        ('[model]\nkind = "bedrock"\nregion = "eu-central-1"\nmodel_id = "m"\nuse = ["answer"]', 5, '"answers"'),
        ('[model]\nkind = "bedrock"\nregion = "eu-central-1"\nmodel_id = "m"\nuse = []', 5, "model.use"),
        ('[model]\nkind = "bedrock"\nregion = "eu-central-1"\nmodel_id = "m"\nendpoint_url = "ws://x"', 5, "https"),
        ('[model]\nkind = "bedrock"\nregion = "eu-central-1"\nmodel_id = "m"\ntokens_per_minute = 1', 5, "1000"),
        ('[model]\nkind = "bedrock"\nregion = "eu-central-1"\nmodel_id = "m"\naccess_key_id = "AKI"', 5, "${NAME}"),
        ('[modle]\nkind = "bedrock"', 1, 'did you mean "model"?'),
    ],
)
def test_a_mistake_is_named_with_its_line(write: Write, text: str, line: int, words: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert f"{path}:{line}: " in raised.value.message
    assert words in raised.value.message


def test_a_file_that_is_not_there_or_not_utf_8_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing.toml: cannot be read: No such file"):
        load_config(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b"[hub]\nstore = 'caf\xe9'\n")
    with pytest.raises(ConfigError, match=r"latin.toml:2: is not UTF-8"):
        load_config(tmp_path / "latin.toml")


# ---------------------------------------------------------------- secrets


class Nested(ConnectorConfig):
    token: SecretStr | None = None
    tokens: tuple[SecretStr, ...] = ()


class Kind(ConnectorConfig):
    url: str = ""
    size: int = 0
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    inner: Nested = Nested()


def table(tmp_path: Path, text: str) -> Table:
    path = tmp_path / "plugins.toml"
    path.write_text(text)
    return Table.load(path)


def test_variables_are_looked_up_anywhere_in_a_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_NAME", "example.com")
    monkeypatch.setenv("SIZE", "7")
    config = table(tmp_path, 'url = "https://${HOST_NAME}/${HOST_NAME}"\nsize = "${SIZE}"').validate(Kind)
    assert (config.url, config.size) == ("https://example.com/example.com", 7)


def test_secrets_come_from_files_beside_the_configuration_wherever_a_secret_may_stand(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    text = 'url = "file:key"\nheaders = { a = "file:key" }\ninner.token = "file:key"\ninner.tokens = ["x", "file:key"]'
    config = table(tmp_path, text).validate(Kind)
    assert config.url == "file:key"
    assert config.headers["a"].get_secret_value() == "s3cret"
    assert config.inner.token == SecretStr("s3cret")
    assert config.inner.tokens == (SecretStr("x"), SecretStr("s3cret"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('\ninner.token = "${NO_SUCH_VARIABLE}"', "inner.token needs the environment variable NO_SUCH_VARIABLE"),
        ('\ninner.token = "${}"', "names no environment variable"),
        ('\ninner.token = "a${B"', "names no environment variable"),
        ('\ninner.token = "file:no/such"', "which cannot be read: No such file"),
    ],
)
def test_a_secret_that_is_not_there_is_an_error_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        table(tmp_path, text).validate(Kind)
    assert words in raised.value.message
    assert "plugins.toml:2: " in raised.value.message


def test_no_error_and_no_repr_shows_what_a_variable_or_a_file_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUSH", "correct-horse")
    (tmp_path / "key").write_text("battery-staple")
    text = 'size = "${HUSH}"\nurl = 3\ninner.tokens = "file:key"\ninner.token = "file:key"\nheaders = { a = "${HUSH}" }'
    with pytest.raises(ConfigErrors) as raised:
        table(tmp_path, text).validate(Kind)
    config = table(tmp_path, 'inner.token = "file:key"\nheaders = { a = "${HUSH}" }').validate(Kind)
    shown = raised.value.message + repr(raised.value.errors) + repr(config) + repr(table(tmp_path, text))
    assert "correct-horse" not in shown
    assert "battery-staple" not in shown
    assert len(raised.value.errors) == 3


def test_the_value_of_a_variable_is_taken_out_of_a_message_that_quotes_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUSH", "61 correct-horse")
    [(line, reason)] = complaints(write('[connectors.a]\nkind = "feed"\ncron = "${HUSH}"'))
    assert line == 3
    assert "correct" not in reason


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "localhost:0", "[::1]:1", "127.1.2.3:9"])
def test_a_loopback_address_needs_no_key(listen: str) -> None:
    check_exposure(listen, keys=0)


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:80", "192.168.1.5:1", "hub.example.com:80"])
def test_a_public_address_is_refused_until_there_is_a_key(listen: str) -> None:
    with pytest.raises(ConfigError, match="aime keys create"):
        check_exposure(listen, keys=0)
    check_exposure(listen, keys=1)


def test_an_address_is_split_into_host_and_port() -> None:
    assert parse_listen("[::1]:80") == ("::1", 80)
    for wrong in ("80", "::1:80", ":80", "a:b", "a:99999", "a:²"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_listen(wrong)
