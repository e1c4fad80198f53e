"""`hub.sdk`: all that a connector author imports, and no more than that."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import hub.sdk
from hub.sdk import ConnectorConfig, Duration

HEAVY = ("aiohttp", "apsw", "tantivy", "numpy", "hub.runtime", "core.service")


def test_every_public_name_is_there_documented_and_in_order() -> None:
    assert hub.sdk.__all__ == sorted(hub.sdk.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    for name in hub.sdk.__all__:
        value = getattr(hub.sdk, name)
        if isinstance(value, type | types.FunctionType):
            assert value.__doc__, f"hub.sdk.{name} does not say what it is"


def test_nothing_public_is_left_out() -> None:
    imported = {
        name
        for name, value in vars(hub.sdk).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert imported == set(hub.sdk.__all__)


def test_importing_it_brings_none_of_the_hub_along() -> None:
    program = f"import sys, hub.sdk.integrations; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_a_configuration_refuses_unknown_keys_and_does_not_change() -> None:
    class Config(ConnectorConfig):
        timeout: Duration

    config = Config.model_validate({"timeout": "15s"})
    assert Config.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="timeot"):
        Config.model_validate({"timeout": "15s", "timeot": "1s"})
    with pytest.raises(ValueError, match="frozen"):
        config.timeout = config.timeout * 2
