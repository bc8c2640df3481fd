"""`make lint-contract`: nothing that clients of the previous release rely on has gone, but for what is allowed.

server/openapi.breaks.toml allows a break, with the line that this prints and a reason:

    [[allowed]]
    break = "GET /api/v1/things: is gone"
    why = "Nobody has called it since March; docs/runbook.md tells how that was seen."

Once the break is released, the entry has no use any more, and must go.
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
        print(f"contract: compared with nothing: {unknown}")
        return
    try:
        old = json.loads(git(ROOT, "show", f"{release.commit}:{DOCUMENT}"))
    except GitError:
        print(f"contract: {release.name} had none")
        return
    found = breaks(old, json.loads((ROOT / DOCUMENT).read_text()))
    if refused := refusals(found, (ROOT / ALLOWED).read_text()):
        sys.exit("\n".join(f"contract: {refusal}" for refusal in refused))
    print(
        f"contract: compared with {release.name}; {len(found)} breaks, all of them allowed"
        if found
        else f"contract: compared with {release.name}; nothing that clients rely on has gone"
    )


def refusals(found: list[str], allowed: str) -> list[str]:
    """A sentence for each break that isn't allowed, and for each entry that allows none.

    Args:
        allowed: the text of server/openapi.breaks.toml.
    """
    content = tomllib.loads(allowed)
    entries = content.get("allowed", [])
    if content.keys() - {"allowed"} or not isinstance(entries, list):
        return [f"{ALLOWED} must hold [[allowed]] entries, and nothing else"]
    lines = [entry["break"] for entry in entries if "break" in entry]
    return [
        *(
            f"an entry of {ALLOWED} must have `break` and `why`, and nothing else: {entry}"
            for entry in entries
            if entry.keys() != {"break", "why"} or not str(entry["why"]).strip()
        ),
        *(
            f"breaks clients: {each}\n    Keep it beside the new one; or allow it in {ALLOWED}, with the reason."
            for each in found
            if each not in lines
        ),
        *(f"{ALLOWED} allows what is no break (any more); take it out: {line}" for line in lines if line not in found),
    ]


if __name__ == "__main__":
    main()
