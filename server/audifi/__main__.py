"""`python -m audifi`: what an operator does by hand, in a console of a running machine or on a developer's."""

import typer

from audifi.auth.commands import users
from audifi.core.commands import jobs

app = typer.Typer(
    name="python -m audifi",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # it would show values: addresses, passwords
    rich_markup_mode=None,
)
app.add_typer(users, name="users")
app.add_typer(jobs, name="jobs")

if __name__ == "__main__":
    app()
