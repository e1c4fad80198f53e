from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from core.wording import Mistake, first_mistake


def _short(value: str) -> str:
    if len(value) > 3:
        raise ValueError("is a mouthful")
    return value


class Inner(BaseModel):
    size: int = Field(1, gt=0)


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=10)
    top_k: int = Field(5, ge=1, le=100)
    share: float = 0.5
    form: Literal["support", "research"] = "support"
    on: bool = True
    inner: Inner = Inner()
    tags: tuple[str, ...] = Field((), max_length=2)
    word: Annotated[str, AfterValidator(_short)] = ""
    options: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ({}, "name", "is required"),
        ({"name": 3}, "name", "must be a string"),
        ({"name": "a" * 11}, "name", "must have at most 10 characters"),
        ({"name": "a", "nmae": "b"}, "nmae", "is not known here"),
        ({"name": "a", "top_k": "many"}, "top_k", "must be a whole number"),
        ({"name": "a", "top_k": 1.5}, "top_k", "must be a whole number"),
        ({"name": "a", "top_k": 0}, "top_k", "must be greater than or equal to 1"),
        ({"name": "a", "share": "half"}, "share", "must be a number"),
        ({"name": "a", "form": "poem"}, "form", "must be 'support' or 'research'"),
        ({"name": "a", "on": "perhaps"}, "on", "must be true or false"),
        ({"name": "a", "inner": 3}, "inner", "must be an object"),
        ({"name": "a", "options": []}, "options", "must be an object"),
        ({"name": "a", "inner": {"size": 0}}, "inner.size", "must be greater than 0"),
        ({"name": "a", "tags": 3}, "tags", "must be a list"),
        ({"name": "a", "tags": ["b", 3]}, "tags.1", "must be a string"),
        ({"name": "a", "tags": ["b", "c", "d"]}, "tags", "must have at most 2 items"),
        ({"name": "a", "word": "long words"}, "word", "is a mouthful"),
    ],
)
def test_the_first_mistake_is_named_with_its_field_in_a_sentence(
    given: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        Model.model_validate(given)
    mistake = first_mistake(raised.value)
    assert mistake == Mistake(field, reason, mistake.kind)
