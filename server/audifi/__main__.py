"""`python -m audifi`: what an operator does by hand, in a console of a running machine or on a developer's."""

import json

import typer

from audifi.auth.cli import users
from audifi.core.config.settings import Settings
from audifi.core.console import jobs
from audifi.doctor.cli import doctor

app = typer.Typer(
    name="python -m audifi",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # it would show values: addresses, passwords
    rich_markup_mode=None,
)
app.add_typer(users, name="users")
app.add_typer(jobs, name="jobs")
app.command()(doctor)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document, which is the same whatever the settings are."""
    from audifi.app import create_app  # noqa: PLC0415 - the other commands start faster without FastAPI

    nobody = {
        "database_url": "postgres://nobody@localhost/nothing",
        "jwt_secret": "for nothing but this document, 1",
        "magic_link_secret": "for nothing but this document, 2",
        "app_url": "http://localhost:3000",
        "environment": "development",
        "audifi_commit": "",
    }
    document = create_app(Settings.model_validate(nobody)).openapi()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    app()
