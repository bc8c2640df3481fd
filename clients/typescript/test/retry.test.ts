/** Without a server: what is sent again, and when. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";

import { createClient } from "../src/index.ts";

const ME = "/api/v1/auth/me";

/** Answers from a list, and what was asked. */
function answering(...answers: [status: number, retryAfter?: string][]) {
  const asked: string[] = [];
  const api = createClient({
    baseUrl: "http://localhost",
    delivery: "body",
    fetch: async (request) => {
      const [status, retryAfter] = answers[asked.length] ?? [599];
      asked.push(`${request.method} ${await request.text()}`);
      const body = { status, code: "database.busy", title: "The database is busy" };
      return Response.json(body, { status, headers: retryAfter === undefined ? {} : { "Retry-After": retryAfter } });
    },
  });
  return { api, asked };
}

/** Let pending promises run until a condition is true. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

let waits: number[];

beforeEach(() => {
  waits = [];
  mock.method(Math, "random", () => 0.5);
  mock.method(globalThis, "setTimeout", (run: () => void, milliseconds: number) => {
    waits.push(milliseconds);
    setImmediate(run);
    return 0;
  });
});

afterEach(() => mock.restoreAll());

for (const status of [429, 503]) {
  test(`a GET that is answered ${status} is sent again after Retry-After and a random time`, async () => {
    const { api, asked } = answering([status, "2"], [status, "3"], [200]);

    const { response } = await api.GET(ME);

    assert.equal(response.status, 200);
    assert.deepEqual(asked, ["GET ", "GET ", "GET "]);
    assert.deepEqual(waits, [2250, 3500]);
  });
}

test("a gateway's 503 without Retry-After is tried again, three times in all", async () => {
  const { api, asked } = answering([503], [503], [503]);

  const { error, response } = await api.GET(ME);

  assert.equal(response.status, 503);
  assert.equal(error?.code, "database.busy");
  assert.equal(asked.length, 3);
  assert.deepEqual(waits, [250, 500]);
});

test("a Retry-After above ten seconds is the caller's", async () => {
  const { api, asked } = answering([429, "3600"]);

  const { response } = await api.GET(ME);

  assert.equal(response.headers.get("Retry-After"), "3600");
  assert.equal(asked.length, 1);
  assert.deepEqual(waits, []);
});

test("what could take effect twice is sent once", async () => {
  const { api, asked } = answering([503, "1"], [503, "1"]);

  await api.POST("/api/v1/auth/magic-link/request", { body: { email: "ana@example.com" } });
  await api.PATCH(ME, { body: { display_name: "Ana" } });

  assert.equal(asked.length, 2);
});

test("a POST with an Idempotency-Key is sent again with its body", async () => {
  const { api, asked } = answering([503, "1"], [202]);
  const body = { email: "ana@example.com" };

  await api.POST("/api/v1/auth/magic-link/request", { body, headers: { "Idempotency-Key": "5b1f" } });

  assert.deepEqual(asked, Array(2).fill(`POST ${JSON.stringify(body)}`));
});

test("refresh and sign-out are sent again: the API repeats their answers", async () => {
  const { api, asked } = answering([503, "1"], [200]);

  await api.signOut();

  assert.equal(asked.length, 2);
});

test("a cancelled request doesn't wait", async () => {
  mock.method(globalThis, "setTimeout", (_: () => void, milliseconds: number) => waits.push(milliseconds));
  const { api, asked } = answering([503, "1"]);
  const cancel = new AbortController();
  const asking = api.GET(ME, { signal: cancel.signal });
  const rejected = assert.rejects(asking, { name: "AbortError" });
  await until(() => waits.length === 1);

  cancel.abort();

  await rejected;
  assert.equal(asked.length, 1);
});
