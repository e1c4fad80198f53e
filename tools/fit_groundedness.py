"""Make `core/answering/calibration.json`: the coefficients of groundedness, from judged questions and claims.

    python -m tools.fit_groundedness --data ../shared/data [--write]

DATA holds folders in the BEIR layout (corpus.jsonl, queries.jsonl, qrels/): of each, every question is asked of the
whole corpus, and once more of a corpus from which its relevant documents were deleted; and likewise of small stores
made of its documents. Answerable is a question whose
relevant documents are all among the first five; one asked of the whole corpus without that is left out of the fit and
counted in the figures called strict. `scifact/evidence.jsonl` labels claims against abstracts. Everything is seeded:
the same data and code give the same file. Without --write the figures are printed and nothing is changed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.abstention import PARTS, Asked, ask_twice, part_of
from core.answering.calibration import AnswerModel, Model
from core.answering.groundedness import states
from core.answering.support import Support
from core.evaluation import auroc, calibration_error, read_questions
from core.service import create_graph_service
from tools.scifact_claims import Claim, read_claims
from tools.small_stores import ask_small_stores

CLAIM_SET = "scifact"
SETS = ("2wiki", "doc2dial", CLAIM_SET)
SMALL_STORES = (30,)
"""Documents in the small stores that questions are asked of, too."""
WHOLE = "whole corpora"
FALSE_ANSWERS = 0.05
"""The share of unanswerable questions, of the whole corpora together, that may get an answer."""
RIDGE = 0.0003
_PRIOR = 2.0
"""Cases that each pool is taken to hold beside its own, half of them positive: a pool of three is no certainty."""
TARGET = Path("core/answering/calibration.json")
FITTED_ON = (
    "2WikiMultihopQA, doc2dial and SciFact (train): questions and claims with their documents and without, and "
    "SciFact's labelled claims; by `python -m tools.fit_groundedness`"
)
_NOT_FITTED = ("support", "minimum_support")
"""They do not vary in verbatim answers."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """A question as it was asked."""

    set: str
    question_id: str
    statement: bool
    present: bool
    """Its relevant documents were there."""
    found: bool
    """And all of them were among the first five."""
    components: dict[str, float]


# ---------------------------------------------------------------- asking


async def ask_all(name: str, folder: Path) -> list[Case]:
    documents = {record["_id"]: _document(record) for record in _read(folder / "corpus.jsonl")}
    (qrels,) = (folder / "qrels").iterdir()
    async with await create_graph_service("sqlite::memory:") as service:
        async for result in service.process_documents(documents.values(), origin="fit", actor="fit"):
            if result.error is not None:
                raise SystemExit(f"{result.document_id} was refused: {result.error.message}")
        questions = read_questions(folder / "queries.jsonl", qrels)
        cases = [_case(name, one) for one in await ask_twice(service, questions, documents)]
    if name != CLAIM_SET:
        for size in SMALL_STORES:
            cases += [_case(f"{name}, {size}", one) for one in await ask_small_stores(questions, documents, size)]
    return cases


def _case(name: str, asked: Asked) -> Case:
    components = asked.answer.validation.components
    fitted = {key: value for key, value in components.items() if key not in _NOT_FITTED}
    question = asked.question
    return Case(name, question.id, states(question.text), asked.present, asked.found, fitted)


def _document(record: dict[str, Any]) -> dict[str, Any]:
    metadata = {"title": record["title"]} if record.get("title") else {}
    return {"document_id": record["_id"], "content": record["text"], "metadata": metadata}


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


# ---------------------------------------------------------------- fitting


def fit(names: Sequence[str], values: Floats, labels: Mask, weights: Floats) -> Model:
    """Ridge logistic regression by Newton's method on standardised components, then isotonic regression of the labels
    on the logits that cross-validation gave."""
    logits = np.zeros(len(labels))
    parts = np.arange(len(labels)) % PARTS
    for part in range(PARTS):
        held_out = parts == part
        logits[held_out] = _logits(
            logistic(names, values[~held_out], labels[~held_out], weights[~held_out]), values[held_out]
        )
    whole = logistic(names, values, labels, weights)
    return replace(whole, steps=isotonic(logits, labels, weights))


def logistic(names: Sequence[str], values: Floats, labels: Mask, weights: Floats) -> Model:
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-9
    design = np.column_stack([np.ones(len(values)), (values - mean) / spread])
    penalty = np.diag([0.0] + [RIDGE * float(weights.sum())] * len(names))
    beta = np.zeros(len(names) + 1)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weights * (p - labels)) + penalty @ beta
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + penalty
        beta -= np.linalg.solve(hessian, gradient)
    slopes = beta[1:] / spread
    intercept = float(beta[0] - slopes @ mean)
    return Model(intercept, {name: float(slope) for name, slope in zip(names, slopes, strict=True)}, ())


def isotonic(logits: Floats, labels: Mask, weights: Floats) -> list[tuple[float, float]]:
    """Pool adjacent violators (Ayer and others, 1955): (mean logit, share of positives) of each pool, rising."""
    pools: list[list[float]] = []
    for at in np.argsort(logits, kind="stable"):
        w = float(weights[at])
        pools.append([w, w * float(logits[at]), w * float(labels[at])])
        while len(pools) > 1 and pools[-2][2] * pools[-1][0] >= pools[-1][2] * pools[-2][0]:
            last = pools.pop()
            pools[-1] = [one + other for one, other in zip(pools[-1], last, strict=True)]
    # What is added to a small pool may take it below the one before it.
    shares = accumulate(((p + _PRIOR / 2) / (w + _PRIOR) for w, _, p in pools), max)
    inner = [(z / w, share) for (w, z, _), share in zip(pools, shares, strict=True)]
    # Past the first and the last pool the probability goes on to nought and one, so that no two logits are alike.
    steps = [(float(logits.min()) - 1, 0.0), *inner, (float(logits.max()) + 1, 1.0)]
    return [(round(z, 4), round(p, 4)) for z, p in steps]


def _logits(model: Model, values: Floats) -> Floats:
    logits: Floats = model.intercept + values @ np.array(list(model.coefficients.values()))
    return logits


def cross_validated(
    names: Sequence[str], values: Floats, labels: Mask, weights: Floats, fitted: Mask, folds: Any
) -> Floats:
    """The probability of each row by a model that saw no row of its fold; `fitted` are the rows to learn from."""
    result = np.zeros(len(labels))
    for fold in range(PARTS):
        learn, rows = fitted & (folds != fold), folds == fold
        model = fit(names, values[learn], labels[learn], weights[learn])
        result[rows] = [model.probability(dict(zip(names, row, strict=True))) for row in values[rows].tolist()]
    return result


def threshold(probabilities: Floats, share: float = FALSE_ANSWERS) -> float:
    """The lowest probability that no more than this share of these reach."""
    allowed = int(share * len(probabilities))
    return float(np.sort(probabilities)[::-1][allowed]) + 1e-4


# ---------------------------------------------------------------- the command


def fit_answers(kind: str, cases: Sequence[Case]) -> AnswerModel:
    """The model of questions, or of statements, and its figures, which are all cross-validated."""
    names = [name for name in cases[0].components if name != "said"]
    said = np.array([case.components["said"] > 0 for case in cases])
    values = np.array([[case.components[name] for name in names] for case in cases])
    sets = np.array([case.set for case in cases])
    present = np.array([case.present for case in cases])
    found = np.array([case.found for case in cases])
    folds = np.array([part_of(case.question_id) for case in cases])
    weights = np.ones(len(cases))
    fitted = found | ~present
    p = cross_validated(names, values, found, weights, fitted, folds)
    # What is said in so many words is answered; the threshold makes room for it.
    p[said] += 1
    whole = np.array([name in SETS for name in sets.tolist()])
    least = threshold(p[whole & ~present])
    p[said] = np.maximum(p[said] - 1, least)
    print(f"{kind}: answered from {least:.3f}")
    print("  set            asked  AUROC    ECE  unanswerable  answerable  strict")
    for name in (*sorted(set(sets.tolist())), WHOLE):
        rows = whole if name == WHOLE else sets == name
        judged = rows & fitted
        print(
            f"  {name:<13} {rows.sum():6} {auroc(p[judged], found[judged]):6.3f} "
            f"{calibration_error(p[judged], found[judged]):6.3f} {np.mean(p[rows & ~present] >= least):13.3f} "
            f"{np.mean(p[rows & found] >= least):11.3f} {np.mean(p[rows & present] >= least):7.3f}"
        )
    for share in (0.01, 0.02, 0.05, 0.1, 0.2):
        at = threshold(p[whole & ~present], share)
        answered = np.mean(p[whole & found] >= at)
        print(f"  {share:4.0%} of the unanswerable answered: {answered:.3f} of the answerable, from {at:.3f}")
    model = fit(names, values[fitted], found[fitted], weights[fitted])
    return AnswerModel(model.intercept, model.coefficients, model.steps, round(least, 4))


def fit_supports(claims: Sequence[Claim]) -> Model:
    names = list(Support._fields)
    values = np.array([list(claim.support) for claim in claims])
    plain = np.array([claim.support.value for claim in claims])
    labels = np.array([claim.label == "SUPPORT" for claim in claims])
    related = np.array([claim.label != "NONE" for claim in claims])
    unopposed = np.array([claim.label != "CONTRADICT" for claim in claims])
    folds = np.array([part_of(claim.claim_id) for claim in claims])
    weights = np.ones(len(claims))
    probabilities = cross_validated(names, values, labels, weights, unopposed, folds)
    p, y = probabilities[unopposed], labels[unopposed]
    print(f"support: {int(y.sum())} supported claims, {int((~y).sum())} with too little information, cross-validated")
    print(
        f"  AUROC {auroc(p, y):.4f} (of the component itself {auroc(plain[unopposed], y):.4f}), "
        f"ECE {calibration_error(p, y):.3f}"
    )
    flags = np.array([claim.opposite for claim in claims])
    print(
        f"  contradicted against supported: AUROC {auroc(-plain[related], ~labels[related]):.3f} by support, "
        f"{auroc(flags[related].astype(float), ~labels[related]):.3f} by the polarity flag"
    )
    return fit(names, values[unopposed], labels[unopposed], weights[unopposed])


def as_json(questions: AnswerModel, statements: AnswerModel, supports: Model) -> str:
    def model(one: Model) -> dict[str, Any]:
        coefficients = {name: round(value, 4) for name, value in one.coefficients.items()}
        return asdict(one) | {"intercept": round(one.intercept, 4), "coefficients": coefficients}

    body = {
        "fitted_on": FITTED_ON,
        "questions": model(questions),
        "statements": model(statements),
        "supports": model(supports),
    }
    digest = hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=4).hexdigest()
    return json.dumps({"id": f"extractive-{digest}", **body}, indent=1) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.fit_groundedness", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with 2wiki, doc2dial and scifact")
    parser.add_argument("--write", action="store_true", help=f"replace {TARGET}")
    given = parser.parse_args()
    supports = fit_supports(read_claims(given.data / "scifact"))
    cases = [case for name in SETS for case in asyncio.run(ask_all(name, given.data / name))]
    questions = fit_answers("questions", [case for case in cases if case.set != CLAIM_SET])
    statements = fit_answers("statements", [case for case in cases if case.set == CLAIM_SET and case.statement])
    made = as_json(questions, statements, supports)
    print(json.loads(made)["id"], "written" if given.write else "not written")
    if given.write:
        TARGET.write_text(made)


if __name__ == "__main__":
    main()
