"""`python -m audifi doctor`."""

import asyncio
import json
import os
from typing import Annotated

import typer

from audifi.doctor.results import COLOURS

NAME_SERVERS = "timeout:1 attempts:2"
"""resolv.conf(5): give up an unreachable name server after 2 s; a look-up can't be cancelled."""


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Check settings, database, clock, queue, ledger, e-mail, files, server … and say what to do about problems.

    Exits 1 on any error. It takes 15 seconds at most, shows no secrets, and changes nothing.
    """
    from audifi.doctor.runner import run_checks  # noqa: PLC0415 - the other commands start faster without

    os.environ.setdefault("RES_OPTIONS", NAME_SERVERS)
    results = asyncio.run(run_checks())
    is_ok = not any(result.state == "error" for result in results)
    if as_json:
        document = {"ok": is_ok, "checks": [result.as_data() for result in results]}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for result in results:
            typer.secho(str(result), fg=COLOURS[result.state])
    raise typer.Exit(0 if is_ok else 1)
