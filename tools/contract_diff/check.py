"""`make lint-contract`: refuses changes of the API that break clients of the previous release.

server/openapi.breaks.toml allows a break, with the printed line and a reason:

    [[allowed]]
    break = "GET /api/v1/things: was removed"
    why = "Nobody has called it since March; docs/runbook.md says how to see that."

Once the break is released, its entry must be removed.
"""

import json
import sys
import tomllib

from tools.contract_diff import ALLOWED, DOCUMENT, ROOT
from tools.contract_diff.breaks import breaks
from tools.migrations.release import GitError, UnknownReleaseError, git, previous_release


def main() -> None:
    try:
        release = previous_release(ROOT)
    except UnknownReleaseError as unknown:
        print(f"contract: nothing to compare with: {unknown}")
        return
    try:
        old = json.loads(git(ROOT, "show", f"{release.commit}:{DOCUMENT}"))
    except GitError:
        print(f"contract: {release.name} has no document")
        return
    lines = breaks(old, json.loads((ROOT / DOCUMENT).read_text()))
    if refused := refusals(lines, (ROOT / ALLOWED).read_text()):
        sys.exit("\n".join(f"contract: {refusal}" for refusal in refused))
    print(
        f"contract: compared with {release.name}; {len(lines)} breaks, all of them allowed"
        if lines
        else f"contract: compared with {release.name}; no breaks"
    )


def refusals(lines: list[str], allowed: str) -> list[str]:
    """Return a message for each break that isn't allowed, and for each entry that allows none.

    Args:
        lines: the breaks.
        allowed: the text of server/openapi.breaks.toml.
    """
    content = tomllib.loads(allowed)
    entries = content.get("allowed", [])
    if content.keys() - {"allowed"} or not isinstance(entries, list):
        return [f"{ALLOWED} must hold [[allowed]] entries alone"]
    allowed_lines = [entry["break"] for entry in entries if "break" in entry]
    return [
        *(
            f"an entry of {ALLOWED} must have `break` and `why` alone: {entry}"
            for entry in entries
            if entry.keys() != {"break", "why"} or not str(entry["why"]).strip()
        ),
        *(
            f"breaks clients: {line}\n    Keep the old beside the new, or allow the break in {ALLOWED} with a reason."
            for line in lines
            if line not in allowed_lines
        ),
        *(
            f"{ALLOWED} allows a break that doesn't exist (any more); remove its entry: {line}"
            for line in allowed_lines
            if line not in lines
        ),
    ]


if __name__ == "__main__":
    main()
