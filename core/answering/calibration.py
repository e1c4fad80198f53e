"""What turns components into probabilities: logistic models with an isotonic correction, shipped as data.

`python -m tools.fit_groundedness` makes the data; `id` names it in every answer.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Model:
    """A logistic regression of the components, corrected by an isotonic one (Zadrozny and Elkan, 2002).

    `steps` are (logit, probability) in rising order; between two of them the probability is interpolated, so that of
    two logits the higher one never has the lower probability."""

    intercept: float
    coefficients: Mapping[str, float]
    steps: Sequence[tuple[float, float]]

    def logit(self, components: Mapping[str, float]) -> float:
        return self.intercept + math.fsum(weight * components[name] for name, weight in self.coefficients.items())

    def probability(self, components: Mapping[str, float]) -> float:
        z = self.logit(components)
        at = bisect_right(self.steps, z, key=lambda step: step[0])
        if at == 0:
            return self.steps[0][1]
        if at == len(self.steps):
            return self.steps[-1][1]
        (low, below), (high, above) = self.steps[at - 1], self.steps[at]
        return below + (above - below) * (z - low) / (high - low)


@dataclass(frozen=True, slots=True)
class AnswerModel(Model):
    """The probability that the evidence answers a question; from `answer_from` on, an answer is given. It is no lower
    than that when the component `said` is 1."""

    answer_from: float = 0.0

    def probability(self, components: Mapping[str, float]) -> float:
        # Not `super()`: a dataclass with slots is another class than the one that the compiler knows.
        modelled = Model.probability(self, components)
        return max(modelled, self.answer_from) if components["said"] else modelled


@dataclass(frozen=True, slots=True)
class Calibration:
    """`questions` and `statements` say how likely the evidence answers the one and bears on the other, `supports` how
    likely it supports a claim."""

    id: str
    fitted_on: str
    questions: AnswerModel
    statements: AnswerModel
    supports: Model

    def answers(self, *, statement: bool) -> AnswerModel:
        return self.statements if statement else self.questions


@cache
def calibration() -> Calibration:
    """The coefficients that ship with this release."""
    raw = json.loads(files("core.answering").joinpath("calibration.json").read_text())
    return Calibration(
        id=raw["id"],
        fitted_on=raw["fitted_on"],
        questions=AnswerModel(**raw["questions"]),
        statements=AnswerModel(**raw["statements"]),
        supports=Model(**raw["supports"]),
    )
