"""The commands of the README work as shown."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dev.tests.test_run import MakeRun, checkout, make_run, wait_for_health
from tests.support.api import ROOT, free_port

pytestmark = pytest.mark.slow

__all__ = ["checkout", "make_run"]  # fixtures

SIGN_IN = (ROOT / "README.md").read_text().split("## Sign in")[1].split("\n## ")[0]
[REQUEST, VERIFY, READ] = re.findall(r"^curl .+$", SIGN_IN, re.MULTILINE)


@pytest.mark.usefixtures("make_run")
def test_sign_in_commands_work(checkout: Path) -> None:
    port = free_port()
    run = MakeRun(checkout, PORT=str(port))
    wait_for_health(port)

    def curl(command: str, **variables: str) -> Any:
        api = f"http://localhost:{port}/api/v1/auth"
        script = "".join(f"{name}={value}\n" for name, value in {"API": api, **variables}.items()) + command
        done = subprocess.run(
            ["bash", "-euc", script + " --silent --show-error"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert curl(REQUEST).keys() == {"flow_id", "expires_in", "resend_after", "flow_secret"}
    token = run.wait_for(r"http://localhost:3000/auth/verify#token=([\w-]+)")
    scanned = curl(VERIFY.replace(', "confirm": true', ""), TOKEN=token)
    answer = curl(VERIFY, TOKEN=token)
    me = curl(READ, ACCESS_TOKEN=answer["access_token"])
    page = Path(unquote(run.wait_for(r"file://(\S+\.html)"))).read_text()
    run.interrupt()

    assert scanned["code"] == "magic_link.confirmation_required"
    assert me == answer["user"]
    assert list(me) == ["id", "email", "display_name", "role", "created_at"]
    assert (me["email"], me["role"]) == ("ana@example.com", "fan")
    assert token in page
