"""What turns components into a probability, and the measures that it is judged by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.answering.calibration import Model, calibration
from core.errors import InvalidInput
from core.evaluation import auroc, calibration_error
from tools.fit_groundedness import fit, isotonic

STEPS = [(-1.0, 0.0), (0.0, 0.4), (2.0, 1.0)]


def probability(logit: float) -> float:
    return Model(0.0, {"x": 1.0}, STEPS).probability({"x": logit})


def test_between_two_steps_the_probability_is_interpolated_and_past_them_it_stays() -> None:
    assert [probability(z) for z in (-5, -1, 0, 1, 2, 9)] == pytest.approx([0, 0, 0.4, 0.7, 1, 1])


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_what_ships_never_gives_more_evidence_the_lower_probability(one: float, other: float) -> None:
    for shipped in (calibration().questions, calibration().statements, calibration().supports):
        model = Model(0.0, {"x": 1.0}, shipped.steps)
        low, high = sorted((one, other))
        assert 0 <= model.probability({"x": low}) <= model.probability({"x": high}) <= 1


def test_what_ships_rises_at_every_step() -> None:
    for shipped in (calibration().questions, calibration().statements, calibration().supports):
        probabilities = [probability for _, probability in shipped.steps]
        assert probabilities == sorted(probabilities)


def test_isotonic_regression_rises_whatever_the_labels() -> None:
    logits = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    steps = isotonic(logits, np.array([False, True, False, False, True]), np.ones(5))
    assert steps == sorted(steps)
    assert [p for _, p in steps] == sorted(p for _, p in steps)


def test_a_fit_separates_what_a_component_separates() -> None:
    values = np.linspace(0, 1, 200)[:, None]
    labels = values[:, 0] > 0.5
    model = fit(["x"], values, labels, np.ones(200))
    assert model.probability({"x": 0.9}) > 0.9
    assert model.probability({"x": 0.1}) < 0.1


def test_auroc_counts_ties_half() -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.9])
    assert auroc(scores, np.array([False, False, True, True])) == 0.875
    with pytest.raises(InvalidInput):
        auroc(scores, np.ones(4, np.bool_))


def test_calibration_error_is_nought_when_probabilities_come_true() -> None:
    probabilities = np.array([0.25] * 4)
    assert calibration_error(probabilities, np.array([True, False, False, False])) == 0
    assert calibration_error(probabilities, np.array([True, True, True, True])) == pytest.approx(0.75)
