"""`make lint-contract`: a break is refused until openapi.breaks.toml allows it."""

import json
from pathlib import Path

import pytest

from tools.contract_diff import ALLOWED, DOCUMENT
from tools.contract_diff.check import refusals
from tools.migrations.checkouts import Checkout

REMOVED = "GET /things: was removed"
WHY = 'why = "Nobody has called it since March."'
ENTRY = f'[[allowed]]\nbreak = "{REMOVED}"\n{WHY}'


@pytest.mark.parametrize(
    ("lines", "allowed", "expected"),
    [
        ([REMOVED], "", [f"breaks clients: {REMOVED}\n"]),
        ([REMOVED], ENTRY, []),
        ([REMOVED, "POST /things: was removed"], ENTRY, ["breaks clients: POST /things: was removed\n"]),
        ([], ENTRY, [f"{ALLOWED} allows a break that doesn't exist (any more); remove its entry: {REMOVED}"]),
        *(
            ([REMOVED], f'[[allowed]]\nbreak = "{REMOVED}"\n{why}', ["must have `break` and `why` alone"])
            for why in ("", 'why = ""', 'why = " "', f'{WHY}\nwho = "Ana"')
        ),
        ([], f"[[allowed]]\n{WHY}", ["must have `break` and `why` alone"]),
        *(
            ([], f"{table}\nbreak = 'x'\nwhy = 'y'", [f"{ALLOWED} must hold [[allowed]] entries alone"])
            for table in ("[allowed]", "[[allow]]")
        ),
    ],
)
def test_refusals(lines: list[str], allowed: str, expected: list[str]) -> None:
    refused = refusals(lines, allowed)

    assert len(refused) == len(expected)
    assert all(part in refusal for part, refusal in zip(expected, refused, strict=True))


@pytest.mark.slow
def test_entry_is_refused_once_its_break_is_released(tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path)
    (checkout.root / ALLOWED).write_text("")
    untouched = checkout.run("tools.contract_diff.check")
    document = json.loads((checkout.root / DOCUMENT).read_text())
    del document["paths"]["/api/v1/auth/me"]["get"]
    (checkout.root / DOCUMENT).write_text(json.dumps(document))
    broken = checkout.run("tools.contract_diff.check")
    (checkout.root / ALLOWED).write_text(f'[[allowed]]\nbreak = "GET /api/v1/auth/me: was removed"\n{WHY}\n')
    allowed = checkout.run("tools.contract_diff.check")
    checkout.release()
    released = checkout.run("tools.contract_diff.check")

    assert "no breaks" in untouched.stdout
    assert broken.returncode == 1
    assert broken.stderr.startswith("contract: breaks clients: GET /api/v1/auth/me: was removed\n")
    assert "1 breaks, all of them allowed" in allowed.stdout
    assert released.returncode == 1
    assert "remove its entry: GET /api/v1/auth/me: was removed" in released.stderr
