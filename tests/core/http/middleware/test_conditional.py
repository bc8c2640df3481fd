"""Reads that a client has already aren't sent again."""

import httpx2
import pytest

from tests.support.edge_app import ORIGIN


def test_a_read_has_a_tag_and_is_to_be_asked_for_again(client: httpx2.Client) -> None:
    answer = client.get("/things")

    assert answer.headers["etag"].startswith('"')
    assert answer.headers["cache-control"] == "private, no-cache"


def test_who_has_it_is_told_so_without_the_body(client: httpx2.Client) -> None:
    first = client.get("/things")
    again = client.get("/things", headers={"If-None-Match": first.headers["etag"], "Origin": ORIGIN})

    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == "private, no-cache"
    assert again.headers["access-control-allow-origin"] == ORIGIN
    assert again.headers["x-request-id"]
    assert "content-type" not in again.headers
    assert "content-length" not in again.headers


def test_who_has_an_old_one_gets_the_new_one(client: httpx2.Client) -> None:
    old = client.get("/things?limit=2").headers["etag"]
    answer = client.get("/things?limit=3", headers={"If-None-Match": old})

    assert answer.status_code == 200
    assert answer.json() == 3
    assert answer.headers["etag"] != old


@pytest.mark.parametrize("condition", ["W/{tag}", '"other", {tag}', '"other",W/{tag}', "*"])
def test_conditions_are_read_as_rfc_9110_has_them(client: httpx2.Client, condition: str) -> None:
    tag = client.get("/things").headers["etag"]

    assert client.get("/things", headers={"If-None-Match": condition.format(tag=tag)}).status_code == 304


def test_several_conditions_are_one_list(client: httpx2.Client) -> None:
    tag = client.get("/things").headers["etag"]

    assert client.get("/things", headers=[("If-None-Match", '"other"'), ("If-None-Match", tag)]).status_code == 304


@pytest.mark.parametrize("condition", ["", "other", '"other"', "{bare}", "**"])
def test_what_isnt_its_tag_is_no_reason_to_keep_it_back(client: httpx2.Client, condition: str) -> None:
    bare = client.get("/things").headers["etag"].strip('"')

    assert client.get("/things", headers={"If-None-Match": condition.format(bare=bare)}).status_code == 200


@pytest.mark.parametrize("path", ["/problem", "/nowhere", "/kept-by-nobody"])
def test_what_must_not_be_kept_has_no_tag(client: httpx2.Client, path: str) -> None:
    answer = client.get(path, headers={"If-None-Match": "*"})

    assert answer.status_code != 304
    assert "etag" not in answer.headers


def test_a_write_is_done_whatever_the_client_has(client: httpx2.Client) -> None:
    answer = client.post("/things", json={"token": "t"}, headers={"If-None-Match": "*"})

    assert answer.status_code == 200
    assert "etag" not in answer.headers


def test_an_answer_in_parts_goes_out_as_it_comes(client: httpx2.Client) -> None:
    answer = client.get("/crash/after-answering", headers={"If-None-Match": "*"})

    assert answer.text == "all"
    assert "etag" not in answer.headers
