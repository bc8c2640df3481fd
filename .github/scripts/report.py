"""What a deploy tells the person who reads the run. For Python 3.12 and nothing else."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import flyctl
from served import Answer


@dataclass(kw_only=True)
class Report:
    """What is known so far; filled as things happen, so that it can be written at any time."""

    app: str
    url: str
    asked: str
    """The commit, or before that is known the release, that shall serve."""
    before: Answer = field(default_factory=Answer)
    image_before: str = ""
    now: Answer = field(default_factory=Answer)
    image: str = ""
    ended: str = "wasn't started"
    """How flyctl has."""
    put_back: str = ""
    sentence: str = ""
    level: str = "notice"

    def write(self, *, good: bool, look: bool = True) -> None:
        """Into the log, as an annotation of the run, and into the job's summary; `look`: with the app's status."""
        level = self.level if good else "error"
        more = [
            f" {name}: {what}" for name, what in (("Put back", self.put_back), ("Last seen", self.now.seen)) if what
        ]
        said = flyctl.look("status", "--app", self.app) if look else None
        if look and not good:
            self.show("status", said)
            self.show("logs --no-tail", flyctl.look("logs", "--app", self.app, "--no-tail"))
        print(f"::{level}::{self.app}: {self.sentence}{''.join(more)}", flush=True)
        if file := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(file).open("a", encoding="utf-8") as summary:
                summary.write(self.markdown(said))

    def show(self, what: str, said: str | None) -> None:
        if said is not None:
            with flyctl.group(f"flyctl {what}"):
                print(said.rstrip(), flush=True)

    def markdown(self, said: str | None) -> str:
        rows = {
            "App": f"`{self.app}`",
            "URL": self.url,
            "Asked for": f"`{self.asked}`",
            "Served before": f"`{self.before.version or 'unknown'}`",
            "Image before": f"`{self.image_before}`" if self.image_before else "",
            "Serves now": f"`{self.now.version or 'unknown'}`",
            "Image": f"`{self.image}`" if self.image else "",
            "flyctl": self.ended,
            "Put back": self.put_back,
        }
        lines = [f"### {self.app}: {self.sentence}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in rows.items() if value]
        if said:
            lines += ["", f"`flyctl status --app {self.app}`", "", "```text", *said.strip().splitlines(), "```"]
        return "\n".join(lines) + "\n"
