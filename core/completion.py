"""What a language model is to the graph: a text in, a text out, and how many tokens that took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Usage(NamedTuple):
    """Tokens of one request, as the model's service counts them."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer. `stop_reason` is `end_turn` where it said all that it had to say, `max_tokens` where it was cut
    off, or another of https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html."""

    text: str
    stop_reason: str
    usage: Usage


class LanguageModel(Protocol):
    """Anything that completes a prompt, such as `core.aws.bedrock.BedrockClient`."""

    @property
    def model_id(self) -> str: ...

    async def complete(
        self, prompt: str, system_prompt: str, max_tokens: int, temperature: float, *, within: float | None = None
    ) -> Completion:
        """The answer, after at most `within` seconds. Raises ModelError."""
        ...
