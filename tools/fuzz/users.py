"""Signed-in users and their tokens, for the hooks that schemathesis calls."""

import random
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from time import monotonic
from typing import Any

import httpx2
import schemathesis
from schemathesis import AuthContext, Case, HookContext, Response
from schemathesis.generation import GenerationMode

from tests.support.clients import Client, new_ip
from tests.support.feature import feature_fixtures
from tests.support.sendgrid import SendGrid

USERS = 3
VALID_SHARE = 0.5
"""The share of requests that get valid tokens, without which most would be refused early."""
RANDOM = random.SystemRandom()  # hypothesis controls the module's generator
MAX_AGE_SECONDS = 240
"""A sign-in is recent for 5 minutes, and deleting an account needs a recent one."""


@dataclass
class UserPool:
    """A group of users. A new one replaces each whose account or session ends."""

    http: httpx2.Client
    sendgrid: SendGrid
    users: list[tuple[float, Client]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def choose(self) -> Client:
        with self.lock:
            self.users = [(since, client) for since, client in self.users if monotonic() - since < MAX_AGE_SECONDS]
            while len(self.users) < USERS:
                self.users.append((monotonic(), Client(self.http, self.sendgrid).sign_in()))
            return RANDOM.choice(self.users)[1]

    def with_token(self, access_token: str) -> Client | None:
        """Return the user of an access token; None if it isn't a present user's."""
        with self.lock:
            clients = [client for _, client in self.users if client.tokens["access_token"] == access_token]
        return clients[0] if clients else None

    def remove(self, access_token: str) -> None:
        with self.lock:
            self.users = [each for each in self.users if each[1].tokens["access_token"] != access_token]


pool: UserPool


def start(http: httpx2.Client, sendgrid: SendGrid) -> None:
    global pool  # noqa: PLW0603 - schemathesis's hooks are functions of a module
    pool = UserPool(http, sendgrid)


@schemathesis.auth(refresh_interval=None)
class AccessToken:
    def get(self, case: Case[Any], context: AuthContext) -> str:  # noqa: ARG002
        token: str = pool.choose().tokens["access_token"]
        return token

    def set(self, case: Case[Any], data: str, context: AuthContext) -> None:  # noqa: ARG002
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:  # noqa: ARG001
    """Send each request from another client address, so that client limits don't dominate."""
    case.headers["Fly-Client-IP"] = new_ip()
    case.headers["Fly-Forwarded-Proto"] = "https"
    meta = case.meta
    if case.query and not (meta and meta.generation.mode is GenerationMode.NEGATIVE):
        case.query.pop("cursor", None)  # the contract can't say which strings are cursors of this list
    if meta is None or meta.generation.mode is GenerationMode.NEGATIVE or RANDOM.random() > VALID_SHARE:
        return
    match case.operation.definition.raw["operationId"]:
        case "verifyMagicLink":
            case.body = link_or_code()
        case "refreshSession":
            case.body = {"refresh_token": a_session()["refresh_token"]}
        case "logOut":
            case.body = {"refresh_token": a_session()["refresh_token"]}
        case "endSession":
            case.path_parameters["session_id"] = a_session()["session"]["id"]
        case _ if case.path_parameters:
            use_existing_ids(case)


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:  # noqa: ARG001
    if (
        case.operation.definition.raw["operationId"] in {"deleteMe", "logOut", "endSession"}
        and response.status_code < 300
    ):
        pool.remove(str(case.headers.get("Authorization", "")).removeprefix("Bearer "))


def use_existing_ids(case: Case[Any]) -> None:
    """Ask for resources that the request's account owns, unless a check has made its access token invalid."""
    ids = ids_of(str(case.headers.get("Authorization", "")).removeprefix("Bearer "))
    if case.path_parameters.keys() <= ids.keys():
        case.path_parameters = {name: ids[name] for name in case.path_parameters}


@cache
def ids_of(access_token: str) -> dict[str, Any]:
    """Create what the token's account can ask for, once; return the ids by their names in the contract."""
    client = pool.with_token(access_token)
    if client is None:
        return {}
    return {name: value for feature in feature_fixtures() for name, value in feature.ids(client).items()}


def link_or_code() -> dict[str, Any]:
    """Return the link or code of a new user's sign-in."""
    client = Client(pool.http, pool.sendgrid)
    mail = client.request_mail()
    if RANDOM.random() < VALID_SHARE:
        return {"token": mail.token, "confirm": RANDOM.random() < VALID_SHARE, **client.secret()}
    return {"flow_id": client.flow["flow_id"], "code": mail.code, **client.secret()}


def a_session() -> dict[str, Any]:
    """Return a new session of an existing user."""
    return Client(pool.http, pool.sendgrid).sign_in().tokens
