"""The JSON that InvokeModel takes and gives, which every family of models has its own form of.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.completion import Usage


class Asked(NamedTuple):
    """What is asked of a model."""

    prompt: str
    system: str
    max_tokens: int
    temperature: float

    def without_system(self) -> Asked:
        """For models that know no system prompt."""
        return self._replace(prompt=f"{self.system}\n\n{self.prompt}", system="") if self.system else self


class Piece(NamedTuple):
    """What an answer, or an event of a stream, says. Counts are None where it says nothing of them."""

    text: str = ""
    stop_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def followed_by(self, other: Piece) -> Piece:
        """The two as one. Counts are of the whole answer, so the later ones hold."""
        return Piece(
            self.text + other.text,
            other.stop_reason or self.stop_reason,
            self.input_tokens if other.input_tokens is None else other.input_tokens,
            self.output_tokens if other.output_tokens is None else other.output_tokens,
        )


Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """One family's form. `read` takes a whole answer and the events of a stream alike."""

    body: Callable[[Asked], Body]
    read: Callable[[Mapping[str, Any]], Piece]


def form_of(model_id: str) -> Form:
    """The form of a model, by its id, the id of an inference profile (`eu.anthropic.…`), or an ARN of either."""
    for pattern, form in _FAMILIES:
        if pattern.search(model_id):
            return form
    return _OPENAI


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(value: object) -> Mapping[str, Any]:
    return _object(value[0]) if isinstance(value, list) and value else {}


# ---------------------------------------------------------------- Anthropic


def _anthropic(asked: Asked) -> Body:
    body: Body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "messages": [{"role": "user", "content": [{"type": "text", "text": asked.prompt}]}],
    }
    return body | {"system": asked.system} if asked.system else body


def _read_anthropic(answer: Mapping[str, Any]) -> Piece:
    match answer.get("type"):
        case "message_start":
            usage = _object(_object(answer.get("message")).get("usage"))
            return Piece(input_tokens=_count(usage.get("input_tokens")))
        case "content_block_delta":
            return Piece(_text(_object(answer.get("delta")).get("text")))
        case "message_delta":
            reason = _object(answer.get("delta")).get("stop_reason")
            return Piece("", _text(reason) or None, None, _count(_object(answer.get("usage")).get("output_tokens")))
    content = answer.get("content")
    texts = [_text(_object(block).get("text")) for block in content] if isinstance(content, list) else []
    usage = _object(answer.get("usage"))
    return Piece(
        "".join(texts),
        _text(answer.get("stop_reason")) or None,
        _count(usage.get("input_tokens")),
        _count(usage.get("output_tokens")),
    )


# ---------------------------------------------------------------- Amazon


def _nova(asked: Asked) -> Body:
    body: Body = {
        "schemaVersion": "messages-v1",
        "messages": [{"role": "user", "content": [{"text": asked.prompt}]}],
        "inferenceConfig": {"maxTokens": asked.max_tokens, "temperature": asked.temperature},
    }
    return body | {"system": [{"text": asked.system}]} if asked.system else body


def _read_nova(answer: Mapping[str, Any]) -> Piece:
    if "contentBlockDelta" in answer:
        return Piece(_text(_object(_object(answer["contentBlockDelta"]).get("delta")).get("text")))
    if "messageStop" in answer:
        return Piece(stop_reason=_text(_object(answer["messageStop"]).get("stopReason")) or None)
    usage = _object(_object(answer.get("metadata")).get("usage")) or _object(answer.get("usage"))
    counts = (_count(usage.get("inputTokens")), _count(usage.get("outputTokens")))
    content = _object(_object(answer.get("output")).get("message")).get("content")
    texts = [_text(_object(block).get("text")) for block in content] if isinstance(content, list) else []
    return Piece("".join(texts), _text(answer.get("stopReason")) or None, *counts)


def _titan(asked: Asked) -> Body:
    settings = {"maxTokenCount": asked.max_tokens, "temperature": asked.temperature}
    return {"inputText": asked.without_system().prompt, "textGenerationConfig": settings}


def _read_titan(answer: Mapping[str, Any]) -> Piece:
    result = _first(answer.get("results")) or answer
    reason = _text(result.get("completionReason"))
    return Piece(
        _text(result.get("outputText")),
        {"FINISH": "end_turn", "LENGTH": "max_tokens"}.get(reason, reason.lower()) or None,
        _count(answer.get("inputTextTokenCount")),
        _count(result.get("tokenCount") or answer.get("totalOutputTextTokenCount")),
    )


# ---------------------------------------------------------------- Meta, Mistral, Cohere


def _llama(asked: Asked) -> Body:
    system = f"<|start_header_id|>system<|end_header_id|>\n\n{asked.system}<|eot_id|>" if asked.system else ""
    prompt = (
        f"<|begin_of_text|>{system}<|start_header_id|>user<|end_header_id|>\n\n{asked.prompt}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    return {"prompt": prompt, "max_gen_len": asked.max_tokens, "temperature": asked.temperature}


def _read_llama(answer: Mapping[str, Any]) -> Piece:
    return Piece(
        _text(answer.get("generation")),
        _reason(answer.get("stop_reason")),
        _count(answer.get("prompt_token_count")),
        _count(answer.get("generation_token_count")),
    )


def _mistral(asked: Asked) -> Body:
    prompt = f"<s>[INST] {asked.without_system().prompt} [/INST]"
    return {"prompt": prompt, "max_tokens": asked.max_tokens, "temperature": asked.temperature}


def _read_mistral(answer: Mapping[str, Any]) -> Piece:
    output = _first(answer.get("outputs"))
    if not output:  # the larger ones answer in the form of OpenAI
        return _read_openai(answer)
    return Piece(_text(output.get("text")), _reason(output.get("stop_reason")))


def _cohere_command(asked: Asked) -> Body:
    return {"prompt": asked.without_system().prompt, "max_tokens": asked.max_tokens, "temperature": asked.temperature}


def _cohere_chat(asked: Asked) -> Body:
    body: Body = {"message": asked.prompt, "max_tokens": asked.max_tokens, "temperature": asked.temperature}
    return body | {"preamble": asked.system} if asked.system else body


def _read_cohere(answer: Mapping[str, Any]) -> Piece:
    said = _first(answer.get("generations")) or answer
    if answer.get("event_type") == "stream-end":  # says the whole answer again
        return Piece(stop_reason=_reason(answer.get("finish_reason")))
    return Piece(_text(said.get("text")), _reason(said.get("finish_reason")))


# ---------------------------------------------------------------- everything else


def _openai(asked: Asked) -> Body:
    """The form of OpenAI's chat completions: gpt-oss, Qwen, DeepSeek, Jamba, and most models that are imported."""
    system = [{"role": "system", "content": asked.system}] if asked.system else []
    return {
        "messages": [*system, {"role": "user", "content": asked.prompt}],
        "max_tokens": asked.max_tokens,
        "temperature": asked.temperature,
    }


def _read_openai(answer: Mapping[str, Any]) -> Piece:
    choice = _first(answer.get("choices")) or _first(answer.get("outputs"))
    said = _object(choice.get("message")) or _object(choice.get("delta")) or choice
    usage = _object(answer.get("usage"))
    return Piece(
        _text(said.get("content")) or _text(said.get("text")),
        _reason(choice.get("finish_reason") or choice.get("stop_reason") or answer.get("stop_reason")),
        _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        _count(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


def _reason(value: object) -> str | None:
    """Why the model stopped, in the words of Converse."""
    reason = _text(value).lower()
    return {"stop": "end_turn", "complete": "end_turn", "length": "max_tokens"}.get(reason, reason) or None


def count(usage: Piece, asked: Asked, text: str) -> Usage:
    """The tokens of a request; where the model's service does not say, four characters are taken for one."""
    given, got = usage.input_tokens, usage.output_tokens
    return Usage(
        estimate(asked.system + asked.prompt) if given is None else given, estimate(text) if got is None else got
    )


def estimate(text: str) -> int:
    return -(-len(text) // 4)


_OPENAI = Form(_openai, _read_openai)
_FAMILIES = (
    (re.compile(r"\banthropic\."), Form(_anthropic, _read_anthropic)),
    (re.compile(r"\bamazon\.nova"), Form(_nova, _read_nova)),
    (re.compile(r"\bamazon\.titan"), Form(_titan, _read_titan)),
    (re.compile(r"\bmeta\.llama"), Form(_llama, _read_llama)),
    (re.compile(r"\bmistral\."), Form(_mistral, _read_mistral)),
    (re.compile(r"\bcohere\.command-r"), Form(_cohere_chat, _read_cohere)),
    (re.compile(r"\bcohere\.command"), Form(_cohere_command, _read_cohere)),
)
