"""The result of a check, as a sentence for people and as data for programs."""

from dataclasses import asdict, dataclass
from typing import Literal, Self

type State = Literal["ok", "warning", "error", "skipped"]

MARKS: dict[State, str] = {"ok": "✓", "warning": "!", "error": "✗", "skipped": "-"}
COLOURS: dict[State, str] = {"ok": "green", "warning": "yellow", "error": "red", "skipped": "bright_black"}
NAME_WIDTH = 12


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one check. Its texts hold no secret, no address of a person, and no text of another system."""

    check: str
    state: State
    message: str
    action: str = ""
    """What to do about it: a command, a setting's name; empty if nothing."""

    @classmethod
    def ok(cls, check: str, message: str) -> Self:
        return cls(check=check, state="ok", message=message)

    @classmethod
    def warning(cls, check: str, message: str, action: str) -> Self:
        """Return the result of something that works, but that somebody should look at."""
        return cls(check=check, state="warning", message=message, action=action)

    @classmethod
    def error(cls, check: str, message: str, action: str) -> Self:
        return cls(check=check, state="error", message=message, action=action)

    @classmethod
    def skipped(cls, check: str, requirement: str) -> Self:
        return cls(check=check, state="skipped", message=f"Skipped: it needs {requirement}.")

    def __str__(self) -> str:
        return " ".join(filter(None, [f"{MARKS[self.state]} {self.check:<{NAME_WIDTH}}", self.message, self.action]))

    def as_data(self) -> dict[str, str]:
        return asdict(self)
