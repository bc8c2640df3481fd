"""`python -m audifi`: the operators' commands."""

import json

import typer

from audifi.app import FEATURES, create_app
from audifi.core.config.settings import Settings
from audifi.core.console import jobs
from audifi.doctor.cli import doctor
from audifi.services import build_services

app = typer.Typer(
    name="python -m audifi",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show values: addresses, passwords
    rich_markup_mode=None,
)
for feature in FEATURES:
    if feature.cli:
        app.add_typer(feature.cli, name=feature.cli_name or feature.name)
app.add_typer(jobs, name="jobs")
app.command()(doctor)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document, which is the same whatever the settings are."""
    settings = Settings.model_validate(
        {
            "database_url": "postgres://nobody@localhost/nothing",
            "jwt_secret": "for nothing but this document, 1",
            "magic_link_secret": "for nothing but this document, 2",
            "app_url": "http://localhost:3000",
            "environment": "development",
            "audifi_commit": "",
        }
    )
    document = create_app(build_services(settings)).openapi()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
