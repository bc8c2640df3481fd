"""The result of a check, as a sentence for people and as data for programs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, Self

type State = Literal["ok", "warning", "error", "skipped"]

MARKS: dict[State, str] = {"ok": "✓", "warning": "!", "error": "✗", "skipped": "-"}
COLOURS: dict[State, str] = {"ok": "green", "warning": "yellow", "error": "red", "skipped": "bright_black"}
NAME_WIDTH = 12

PRODUCTION = {
    "log": "`flyctl logs`",
    "database_log": "`flyctl status --app audifi-db`",
    "set_it": "Set it with `flyctl secrets set`, or in [env] of fly.toml.",
    "set_key": "`flyctl secrets set SENDGRID_API_KEY=…`",
    "attach": ", or `flyctl postgres attach`",
    "migrate": "Migrate: `alembic upgrade head`, as the release command does.",
    "more_memory": "Raise `memory` in [[vm]] of fly.toml",
}
DEVELOPMENT = {
    "log": "the terminal of `make run`",
    "database_log": "its log is .data/postgres.log",
    "set_it": "Set it in the environment of `make run`.",
    "set_key": "`SENDGRID_API_KEY=… make run`",
    "attach": "",
    "migrate": "Start `make run` again, which migrates.",
    "more_memory": "Close other programs",
}
"""What the actions of results name by `{log}` and so on, which differs from place to place."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one check. Its texts hold no secret, no address of a person, and no text of another system."""

    check: str
    state: State
    message: str
    action: str = ""
    """What to do about it: a command, a setting's name; empty if nothing. Names places as `{log}`, of `PRODUCTION`."""

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

    def in_place(self, words: Mapping[str, str]) -> Self:
        """Return the result in the words of a place, `PRODUCTION` or `DEVELOPMENT`."""
        return replace(self, action=self.action.format_map(words))

    def as_data(self) -> dict[str, str]:
        return asdict(self)
