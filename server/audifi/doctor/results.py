"""What a check has found, as a sentence for a person and as data for a machine."""

from dataclasses import asdict, dataclass
from typing import Literal

type State = Literal["ok", "warning", "wrong", "skipped"]

MARKS: dict[State, str] = {"ok": "✓", "warning": "!", "wrong": "✗", "skipped": "-"}
COLOURS: dict[State, str] = {"ok": "green", "warning": "yellow", "wrong": "red", "skipped": "bright_black"}
NAME_WIDTH = 12


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Of one check. Neither text holds a secret, an address of a person, or what another system said."""

    check: str
    state: State
    says: str
    """A sentence: what is so."""
    do: str = ""
    """What to do about it: a command, a setting's name. Empty where nothing is."""

    def __str__(self) -> str:
        return " ".join(filter(None, [f"{MARKS[self.state]} {self.check:<{NAME_WIDTH}}", self.says, self.do]))

    def as_data(self) -> dict[str, str]:
        return asdict(self)


def well(check: str, says: str) -> Finding:
    return Finding(check=check, state="ok", says=says)


def odd(check: str, says: str, do: str) -> Finding:
    """It works, but somebody should look at it."""
    return Finding(check=check, state="warning", says=says, do=do)


def wrong(check: str, says: str, do: str) -> Finding:
    return Finding(check=check, state="wrong", says=says, do=do)


def skipped(check: str, needs: str) -> Finding:
    return Finding(check=check, state="skipped", says=f"Not looked at: it needs {needs}.")
