"""Rules and accounts for tests."""

from typing import Any

import httpx2

from tests.ipos.offerings import user_id
from tests.support import databases
from tests.support.clients import Client

OFF: dict[str, Any] = {"kyc_required": False, "countries_blocked": [], "amount_per_12_months": None}
UNKNOWN: dict[str, Any] = {"kyc": "none", "kyc_ref": None, "country": None, "is_frozen": False}


def put(admin: Client, path: str, body: dict[str, Any], version: int | None) -> httpx2.Response:
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return admin.as_signed_in("PUT", f"/compliance/{path}", {"reason": "A decision"} | body, headers=headers)


def get(admin: Client, path: str) -> dict[str, Any]:
    answer = admin.as_signed_in("GET", f"/compliance/{path}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def set_rule(admin: Client, action: str, **values: Any) -> None:
    version = next(rule["version"] for rule in get(admin, "rules")["data"] if rule["action"] == action)
    answer = put(admin, f"rules/{action}", OFF | values, version)
    assert answer.status_code == 200, answer.text


def set_account(admin: Client, client: Client, **values: Any) -> dict[str, Any]:
    path = f"accounts/{user_id(client)}"
    answer = put(admin, path, UNKNOWN | values, get(admin, path)["version"])
    assert answer.status_code == 200, answer.text
    account: dict[str, Any] = answer.json()
    return account


def switch_off(database_url: str) -> None:
    databases.execute(
        database_url,
        "UPDATE compliance_rules SET kyc_required = false, countries_blocked = '{}', amount_per_12_months = NULL,"
        " version = version + 1, reason = 'The test has ended', updated_at = now()",
    )
