"""The `[model]` table: a language model that words answers, finds entities and relations, or does both."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from core.errors import ConfigError, ConfigErrors
from hub.toml_table import Table

SECRETS = ("access_key_id", "secret_access_key", "session_token")


def _check_endpoint(value: str) -> str:
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:
        port = 0
    fits = parts.scheme in {"http", "https"} and parts.hostname and port != 0 and parts.path in {"", "/"}
    if not fits or parts.query or parts.fragment or parts.username is not None:
        raise ValueError('must be https://HOST or http://HOST:PORT, such as "https://bedrock-runtime.example.com"')
    return value


class ModelSettings(BaseModel):
    """Credentials that are not given are those of AWS's usual chain."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: Literal["bedrock"]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    model_id: Annotated[str, Field(min_length=1, max_length=2048)]
    """A model, an inference profile, or the ARN of either."""
    use: Annotated[tuple[Literal["answers", "extraction"], ...], Field(min_length=1)] = ("answers",)
    api: Literal["auto", "converse", "invoke"] = "auto"
    endpoint_url: Annotated[str, AfterValidator(_check_endpoint)] | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    tokens_per_minute: Annotated[int, Field(ge=10_000)] = 100_000
    """In and out, for everything that it is used for. An answer may take some 5,000."""
    input_price: Annotated[float, Field(ge=0)] = 0.0
    """Of a million tokens."""
    output_price: Annotated[float, Field(ge=0)] = 0.0
    answer_seconds: Annotated[float, Field(gt=0, le=50)] = 15.0
    """How long an answer may wait for the model, tries included. Asks of connectors have a minute in all."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long one try may take without a sign of life."""

    @model_validator(mode="after")
    def _both_keys(self) -> ModelSettings:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: give both or neither")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to an access_key_id")
        return self

    @classmethod
    def of(cls, table: Table) -> ModelSettings:
        """Raises ConfigErrors: also for a secret that is written into the file itself."""
        written = [
            table.error('must not stand in the file: write "${NAME}" for the environment, or "file:PATH"', key)
            for key in SECRETS
            if isinstance(value := table.values.get(key), str) and not value.startswith(("${", "file:"))
        ]
        try:
            settings = table.validate(cls)
        except ConfigErrors as errors:
            raise ConfigErrors([*errors.errors, *written]) from None
        except ConfigError as error:
            raise ConfigErrors([error, *written]) from None
        if written:
            raise ConfigErrors(written)
        return settings
