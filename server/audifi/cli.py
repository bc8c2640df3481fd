"""`python -m audifi`: the operators' commands."""

import json
from collections.abc import Callable, Sequence
from pkgutil import resolve_name

import typer

from audifi.app import FEATURES, create_app
from audifi.core.config.settings import Settings
from audifi.core.console import jobs, migrations, run_on_connection
from audifi.core.feature import Feature
from audifi.core.invariants import check as check_invariants
from audifi.demo.cli import demo
from audifi.doctor.cli import doctor
from audifi.services import build_services

app = typer.Typer(
    name="python -m audifi",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show values: addresses, passwords
    rich_markup_mode=None,
)


def check_command(features: Sequence[Feature]) -> Callable[[], None]:
    def check() -> None:
        """Check the invariants of the data; exit 1 and show rows if one is violated. Changes nothing."""
        invariants = [invariant for feature in features for invariant in feature.invariants]
        violations = run_on_connection(lambda connection: check_invariants(connection, invariants))
        for violation in violations:
            typer.echo(f"violated: {violation.invariant.name}: {violation.invariant.sentence}")
            for example in violation.examples:
                typer.echo(f"  {example}")
        typer.echo(f"{len(invariants) - len(violations)} of {len(invariants)} invariants hold.")
        raise typer.Exit(1 if violations else 0)

    return check


def add_feature(feature: Feature) -> None:
    groups = {feature.cli_name or feature.name: resolve_name(feature.cli)} if feature.cli else {}
    if feature.invariants:
        group = groups.setdefault(feature.name, typer.Typer(no_args_is_help=True, help=feature.description))
        group.command("check")(check_command([feature]))
    for name, group in groups.items():
        app.add_typer(group, name=name)


for feature in FEATURES:
    add_feature(feature)
app.command("check")(check_command(FEATURES))
app.add_typer(jobs, name="jobs")
app.add_typer(migrations, name="migrations")
app.command()(doctor)
app.command()(demo)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document, which is the same whatever the settings are."""
    settings = Settings.model_validate(
        {
            "database_url": "postgres://nobody@localhost/nothing",
            "jwt_secret": "for nothing but this document, 1",
            "magic_link_secret": "for nothing but this document, 2",
            "app_url": "http://localhost:3000",
            "files_endpoint": "http://localhost:1",
            "files_bucket": "nothing",
            "files_key_id": "nobody",
            "files_secret": "nothing",
            "environment": "development",
            "audifi_commit": "",
        }
    )
    document = create_app(build_services(settings)).openapi()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
