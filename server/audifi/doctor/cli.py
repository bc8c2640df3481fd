"""`python -m audifi doctor`."""

import asyncio
import json
import os
from typing import Annotated

import typer

from audifi.doctor.results import COLOURS

NAME_SERVERS = "timeout:1 attempts:2"
"""resolv.conf(5): a name server that is away is given up after 2 s; the look-up can't be cancelled."""


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: the same as one JSON object.")] = False,
) -> None:
    """Say what is wrong with settings, database, migrations, clock, queue, mail and server, and what to do.

    Exits 1 if anything is wrong. It takes 15 seconds at most, shows no secrets, and changes nothing.
    """
    from audifi.doctor.runner import examine  # noqa: PLC0415 - the other commands start faster without

    os.environ.setdefault("RES_OPTIONS", NAME_SERVERS)
    findings = asyncio.run(examine())
    is_well = not any(finding.state == "wrong" for finding in findings)
    if as_json:
        document = {"well": is_well, "checks": [finding.as_data() for finding in findings]}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            typer.secho(str(finding), fg=COLOURS[finding.state])
    raise typer.Exit(0 if is_well else 1)
