"""Load by pgbench, which is among PostgreSQL's own programs: clients that cost the machine little."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from dev.postgres import BINARIES, Postgres
from tools.bench.database import NAME
from tools.bench.load import LoadError


@dataclass(frozen=True, kw_only=True)
class Script:
    """A transaction in pgbench's language (https://www.postgresql.org/docs/16/pgbench.html)."""

    name: str
    text: str
    clients: int
    waits_for_disk: bool
    """Whether a commit waits until it is on the disk, as in production."""
    warm_up_seconds: int = 0
    """What isn't counted at the beginning."""


def per_second(postgres: Postgres, script: Script, *, folder: Path, seconds: int, values: Mapping[str, int]) -> float:
    """Return the transactions per second.

    Raises:
        LoadError: a transaction failed.
    """
    file = folder / f"{script.name}.sql"
    file.write_text(script.text)
    defined = [f"--define={name}={value}" for name, value in values.items()]
    ran = subprocess.run(
        [
            *(str(BINARIES / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={file}", *defined),
            *(f"--client={script.clients}", f"--time={script.warm_up_seconds + seconds}", "--progress=1"),
            f"--host={postgres.socket_folder}",
            *(f"--port={postgres.port}", "--username=postgres", NAME),
        ],
        env=os.environ | {"PGOPTIONS": f"-c synchronous_commit={'on' if script.waits_for_disk else 'off'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    rates = [float(rate) for rate in re.findall(r"^progress: [0-9.]+ s, ([0-9.]+) tps", ran.stderr, re.MULTILINE)]
    counted = rates[script.warm_up_seconds :]
    if ran.returncode or not counted:
        raise LoadError(f"pgbench failed: {ran.stdout[-300:]} {ran.stderr[-500:]}")
    return fmean(counted)
