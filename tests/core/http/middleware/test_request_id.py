"""The name of a request, over HTTP."""

import httpx2
import pytest


def ask(client: httpx2.Client, **headers: str) -> str:
    """The name, which is the same to the route, its log lines, and the client."""
    answer = client.post("/things", json={"token": "t", "email": "a@b"}, headers=headers)
    body = answer.json()
    name: str = answer.headers["x-request-id"]
    assert (body["request_id"], body["for_logs"]) == (name, name)
    return name


def test_a_request_without_a_name_gets_one_of_its_own(client: httpx2.Client) -> None:
    names = {ask(client) for _ in range(5)}

    assert len(names) == 5
    assert all(len(name) == 32 and name.isalnum() for name in names)


@pytest.mark.parametrize("given", ["a", "client-1.2_3", "A" * 64])
def test_a_clients_own_name_is_kept(client: httpx2.Client, given: str) -> None:
    assert ask(client, **{"X-Request-ID": given}) == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 65, "a/b", "<b>", "a,b", "a\tb", "é", '"a"', "a\\n"])
def test_what_could_be_anything_is_replaced(client: httpx2.Client, given: str) -> None:
    name = client.get("/things", headers=[(b"X-Request-ID", given.encode())]).headers["x-request-id"]

    assert len(name) == 32
    assert name.isalnum()


def test_a_problem_has_the_name_too(client: httpx2.Client) -> None:
    for path in ("/problem", "/crash", "/nowhere", "/things?limit=x"):
        answer = client.get(path, headers={"X-Request-ID": "mine"})

        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
