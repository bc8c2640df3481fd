"""The report of a deploy: the run's annotation and the job's summary. Python 3.12 to 3.14, standard library only."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import flyctl
from served import Answer


class RefusedError(Exception):
    """The deploy was refused; the message says why and what to do."""


@dataclass(kw_only=True)
class Report:
    """The state of the deploy so far, updated as it proceeds, so that it can be written at any time."""

    app: str
    url: str
    requested: str
    """The commit that should serve; the release, until its commit is known."""
    before: Answer = field(default_factory=Answer)
    image_before: str = ""
    now: Answer = field(default_factory=Answer)
    image: str = ""
    ended: str = "wasn't started"
    """How flyctl ended."""
    cleared: str = ""
    """The machines that an earlier deploy left, and whether they were destroyed."""
    migration: str = ""
    """Why the migration failed."""
    bake: str = ""
    """The result of watching health after the deploy."""
    pin: str = ""
    """The pin that this roll-back set."""
    put_back: str = ""
    sentence: str = ""
    level: str = "notice"

    def write(self, *, good: bool, look: bool = True) -> None:
        """Write the log's annotation and the job's summary, with the app's status if `look`."""
        level = self.level if good else "error"
        rows = (("Migration", self.migration), ("Put back", self.put_back), ("Last seen", self.now.seen))
        more = [f" {name}: {value}" for name, value in rows if value]
        output = flyctl.look("status", "--app", self.app) if look else None
        if look and not good:
            self.show("status", output)
            self.show("logs --no-tail", flyctl.look("logs", "--app", self.app, "--no-tail"))
        print(f"::{level}::{self.app}: {self.sentence}{''.join(more)}", flush=True)
        if file := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(file).open("a", encoding="utf-8") as summary:
                summary.write(self.markdown(output))

    def show(self, command: str, output: str | None) -> None:
        if output is not None:
            with flyctl.group(f"flyctl {command}"):
                print(output.rstrip(), flush=True)

    def markdown(self, output: str | None) -> str:
        rows = {
            "App": f"`{self.app}`",
            "URL": self.url,
            "Requested": f"`{self.requested}`",
            "Served before": f"`{self.before.version or 'unknown'}`",
            "Image before": f"`{self.image_before}`" if self.image_before else "",
            "Serves now": f"`{self.now.version or 'unknown'}`",
            "Image": f"`{self.image}`" if self.image else "",
            "Leftover machines": self.cleared,
            "flyctl": self.ended,
            "Migration": f"failed: `{self.migration.replace('`', "'").replace('|', '/')}`" if self.migration else "",
            "Watched": self.bake,
            "Pinned": self.pin,
            "Put back": self.put_back,
        }
        lines = [f"### {self.app}: {self.sentence}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in rows.items() if value]
        if output:
            lines += ["", f"`flyctl status --app {self.app}`", "", "```text", *output.strip().splitlines(), "```"]
        return "\n".join(lines) + "\n"
