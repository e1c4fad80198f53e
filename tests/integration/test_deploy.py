"""What `deploy/` and `compose.yaml` hold is what the hub, Compose and systemd take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hub.config import load_config
from hub.plugins import Plugins

ROOT = Path(__file__).parents[2]
SECRETS = {"POSTGRES_PASSWORD": "tide", "RABBITMQ_PASSWORD": "moon"}


def compose() -> list[str]:
    """The command of a Compose that is there: the plugin of the Docker client, or a program of its own."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("there is no Compose: `apt-get install docker-compose` brings one")


def test_compose_takes_the_file_and_asks_for_secrets_that_are_missing() -> None:
    command = [*compose(), "--file", str(ROOT / "compose.yaml"), "config"]
    told = subprocess.run(command, env={**os.environ, **SECRETS}, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "postgresql://aime:tide@postgres/aime" in told.stdout
    missing = subprocess.run(command, env={**os.environ}, cwd="/", capture_output=True, text=True, check=False)
    assert missing.returncode != 0
    assert "goes into .env" in missing.stderr


def test_the_image_is_made_of_files_that_its_context_has() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert names == let_in
    assert all((ROOT / name).exists() for name in names)


def test_the_configuration_of_compose_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIME_DATABASE", "postgresql://aime:tide@postgres/aime")
    monkeypatch.setenv("RABBITMQ_PASSWORD", "moon")
    config = load_config(ROOT / "deploy" / "plugins.toml")
    plugins = Plugins()
    assert [plugins.configure(settings)[0].kind for settings in config.connectors.values()] == ["rabbitmq"]
    assert config.projection is not None


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "aime.service").read_text()
    # The program and the user are not there before it is installed.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE).replace("User=aime", "User=root")
    unit = tmp_path / "aime.service"
    unit.write_text(text)
    told = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
