"""What the forms have in common: what may be asked, and of which documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, JsonValue, ValidationError, model_validator

from core.errors import InvalidInput, InvalidQuery
from core.wording import first_mistake
from hub.sdk.contract import Ask

Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class FormAsk(Ask):
    """A question, the filters that narrow what may answer it, and from which groundedness on it is answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filters: dict[str, JsonValue] | None = None
    min_groundedness: Share | None = None

    @classmethod
    def of(cls, ask: Ask) -> Self:
        """The ask in this form. Raises InvalidInput that names the first field which does not fit."""
        return ask if isinstance(ask, cls) else cls.parse(**ask.model_dump())

    @classmethod
    def parse(cls, **fields: object) -> Self:
        """An ask whose fields may be Python's: dates, tuples and sets. Raises InvalidInput that names the first one
        which does not fit."""
        try:
            return cls.model_validate(_as_json(fields))
        except ValidationError as error:
            mistake = first_mistake(error)
            raise InvalidInput(mistake.reason, field=mistake.field) from None

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        """Raises InvalidQuery, which passes through pydantic as it is: what is wrong is told when it is asked, not when
        an answer is due somewhere else."""
        # Here, because hub.sdk is imported by every connector, and the index brings much along.
        from core.answering.filters import parse_filters
        from core.index import Question

        Question(text=self.query, filters=parse_filters(self.filters))
        if self.min_groundedness is not None and "min_groundedness" in (self.filters or {}):
            raise InvalidQuery("is given twice, here and in filters", field="min_groundedness")
        return self

    def narrowed(self, sources: Sequence[str], min_groundedness: float | None) -> dict[str, Any]:
        """Its filters, within `sources` (none: all) and with `min_groundedness` unless it says another. Raises
        InvalidQuery for a source that is not among them."""
        filters: dict[str, Any] = dict(self.filters or {})
        if sources:
            asked = filters.setdefault("source", list(sources))
            if not set([asked] if isinstance(asked, str) else asked) <= set(sources):
                raise InvalidQuery("is not among the sources that this answers from", field="filters.source")
        least = filters.get("min_groundedness", min_groundedness)
        if self.min_groundedness is not None:
            least = self.min_groundedness
        if least is not None:
            filters["min_groundedness"] = least
        return filters


def checked_share(min_groundedness: float | None) -> float | None:
    """The same. Raises InvalidInput where it is no share."""
    if min_groundedness is not None and not 0 <= min_groundedness <= 1:
        raise InvalidInput("must be a number from 0 to 1", field="min_groundedness")
    return min_groundedness


def _as_json(value: object) -> object:
    match value:
        case date():
            return value.isoformat()
        case Mapping():
            return {key: _as_json(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_as_json(each) for each in value]
        case _:
            return value
