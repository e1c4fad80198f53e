"""What an analysing process makes of its input."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from core.analysis.source import Source
from core.analysis.worker import LENGTH_BYTES, READY, request, serve

ASKED = request([(Source("York lies on the Ouse."), frozenset())])
FRAME = len(ASKED).to_bytes(LENGTH_BYTES, "big") + ASKED


def answered(requests: bytes) -> list[bytes]:
    """What is sent back: it says first that it is ready."""
    answers = io.BytesIO()
    serve(io.BytesIO(requests), answers)
    answers.seek(0)
    sent = []
    while head := answers.read(LENGTH_BYTES):
        sent.append(answers.read(int.from_bytes(head, "big")))
    assert sent[0] == READY
    return sent[1:]


@pytest.mark.parametrize("left", [1, LENGTH_BYTES, LENGTH_BYTES + 1, len(FRAME) - 1])
def test_a_request_that_breaks_off_is_the_end_of_the_requests(left: int) -> None:
    assert len(answered(FRAME)) == 1
    assert answered(FRAME + FRAME[:left]) == answered(FRAME)


def test_it_imports_nothing_that_only_the_hub_needs() -> None:
    program = "import sys, core.analysis.worker; print({'core.model', 'pydantic'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "set()"
