/** In Node, which keeps the refresh token itself, as native apps do. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, createClient, memoryStore } from "../src/index.ts";
import { API_URL, CALLER_SECRET, between, codeFor, newAddress, signIn } from "./support.ts";

test("signs in, asks, changes, and signs out", async () => {
  const { api, email } = await signIn();

  assert.equal((await api.GET("/api/v1/auth/me")).data?.email, email);
  const changed = await api.PATCH("/api/v1/auth/me", { body: { display_name: "Ana" } });
  assert.equal(changed.data?.display_name, "Ana");
  await api.signOut();
  const after = await api.GET("/api/v1/auth/me");
  assert.equal(after.error?.code, "access_token.missing");
});

test("gets the next access token when one isn't good any more, and asks again, with the body", async () => {
  const asked: string[] = [];
  let spoil = false;
  const { api } = await signIn({
    fetch: (request) => {
      asked.push(new URL(request.url).pathname);
      if (spoil && request.method === "PATCH") {
        spoil = false;
        request.headers.set("Authorization", "Bearer spoilt");
      }
      return fetch(request);
    },
  });
  asked.length = 0;
  spoil = true;

  const changed = await api.PATCH("/api/v1/auth/me", { body: { display_name: "Ben" } });

  assert.equal(changed.data?.display_name, "Ben");
  assert.deepEqual(asked, ["/api/v1/auth/me", "/api/v1/auth/refresh", "/api/v1/auth/me"]);
});

test("asks for new tokens once, however many requests need them", async () => {
  const asked: string[] = [];
  const store = memoryStore();
  await signIn({ store });
  const again = createClient({
    baseUrl: API_URL,
    delivery: "body",
    store,
    fetch: (request) => {
      asked.push(new URL(request.url).pathname);
      return fetch(request);
    },
  });

  const answers = await Promise.all(Array.from({ length: 5 }, () => again.GET("/api/v1/auth/sessions")));

  assert.deepEqual(
    answers.map((answer) => answer.response.status),
    [200, 200, 200, 200, 200],
  );
  assert.equal(asked.filter((path) => path === "/api/v1/auth/refresh").length, 1);
});

test("resumes a session by the refresh token that was kept", async () => {
  const store = memoryStore();
  const { email } = await signIn({ store });
  const before = store.read();

  const later = createClient({ baseUrl: API_URL, delivery: "body", store });

  assert.equal(await later.resume(), true);
  assert.notEqual(store.read(), before);
  assert.equal((await later.GET("/api/v1/auth/me")).data?.email, email);
});

test("tells when the session has ended elsewhere", async () => {
  let ended = 0;
  const store = memoryStore();
  const { api } = await signIn({ onSignedOut: () => ended++, store });
  const other = createClient({ baseUrl: API_URL, delivery: "body", store: memoryStore(await store.read()) });
  await other.signOut();

  const { error } = await api.GET("/api/v1/auth/me");

  assert.equal(error?.status, 401);
  assert.equal(ended, 1);
  assert.equal(store.read(), null);
  assert.equal(await api.resume(), false);
});

test("a session lives on when the API can't tell", async () => {
  let broken = false;
  let ended = 0;
  const busy = () =>
    new Response(JSON.stringify({ status: 503, code: "database.busy", title: "The database is busy" }), {
      status: 503,
      headers: { "Content-Type": "application/problem+json", "Retry-After": "60" },
    });
  const { api, email } = await signIn({
    onSignedOut: () => ended++,
    fetch: (request) => (broken ? Promise.resolve(busy()) : fetch(request)),
  });
  broken = true;

  await assert.rejects(api.resume(), (error) => error instanceof ApiError && error.problem.code === "database.busy");

  broken = false;
  assert.equal(await api.resume(), true);
  assert.equal((await api.GET("/api/v1/auth/me")).data?.email, email);
  assert.equal(ended, 0);
});

test("problems come as the contract has them", async () => {
  const api = createClient({ baseUrl: API_URL, delivery: "body" });

  const { error, response } = await api.POST("/api/v1/auth/magic-link/request", { body: { email: "no address" } });

  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.equal(error?.code, "request.invalid");
  assert.match(new ApiError(error).message, /^422 request.invalid: Invalid request \(\/email: .+\)$/);
  assert.ok(error && "errors" in error);
  assert.deepEqual(
    error.errors?.map((each) => each.pointer),
    ["/email"],
  );
  assert.equal(response.headers.get("x-request-id"), error.request_id);
});

/** So long that it is the caller's. */
const headers = { "Retry-After": "60" };
const html = (status: number) => () => new Response("<h1>Sign in to this network</h1>", { status, headers });
const empty = (status: number) => () => new Response(null, { status });

for (const [what, answer] of Object.entries({
  "a portal's 401": html(401),
  "a gateway's 503": html(503),
  "a gateway's empty 502": empty(502),
})) {
  test(`${what} ends no session`, async () => {
    let isBetween = false;
    const store = memoryStore();
    let ended = 0;
    const { api, email } = await signIn({
      onSignedOut: () => ended++,
      store,
      fetch: between(() => (isBetween ? answer() : null)),
    });
    isBetween = true;

    await assert.rejects(api.resume(), (error) => error instanceof ApiError && error.problem.code === "unknown");
    assert.equal((await api.GET("/api/v1/auth/me")).response.ok, false);

    isBetween = false;
    assert.equal((await api.GET("/api/v1/auth/me")).data?.email, email);
    assert.equal(ended, 0);
    assert.notEqual(store.read(), null);
  });
}

test("an error of the refresh is returned to who asked for something else", async () => {
  const busy = { status: 503, code: "database.busy", title: "The database is busy" };
  const store = memoryStore();
  await signIn({ store });
  const api = createClient({
    baseUrl: API_URL,
    delivery: "body",
    store,
    fetch: between((path) => (path.endsWith("/refresh") ? Response.json(busy, { status: 503, headers }) : null)),
  });

  const { error, response } = await api.GET("/api/v1/auth/me");

  assert.equal(response.status, 503);
  assert.equal(error?.code, "database.busy");
});

test("a refresh that ends after a sign-out signs nobody in", async () => {
  let answer: (() => void) | undefined;
  const store = memoryStore();
  const { api } = await signIn({
    store,
    fetch: between(async (path, request) => {
      const response = await fetch(request);
      if (path.endsWith("/refresh")) await new Promise<void>((resolve) => (answer = resolve));
      return response;
    }),
  });

  const resuming = api.resume();
  while (!answer) await new Promise((resolve) => setTimeout(resolve, 5));
  const leaving = api.signOut();
  answer();
  await Promise.all([resuming, leaving]);

  assert.equal(store.read(), null);
  assert.equal((await api.GET("/api/v1/auth/me")).error?.code, "access_token.missing");
});

test("a refresh of the session before doesn't end the one after", async () => {
  let answer: (() => void) | undefined;
  let ended = 0;
  const { api } = await signIn({
    onSignedOut: () => ended++,
    fetch: between(async (path) => {
      if (!path.endsWith("/refresh")) return null;
      await new Promise<void>((resolve) => (answer = resolve));
      return Response.json({ status: 401, code: "refresh_token.expired", title: "The session has ended" }, { status: 401 });
    }),
  });
  const resuming = api.resume();
  while (!answer) await new Promise((resolve) => setTimeout(resolve, 5));
  const email = newAddress();
  const { data: flow } = await api.POST("/api/v1/auth/magic-link/request", { body: { email, delivery: "body" } });
  const body = { flow_id: flow!.flow_id, flow_secret: flow!.flow_secret ?? null, code: await codeFor(email) };
  await api.POST("/api/v1/auth/magic-link/verify", { body });
  answer();

  assert.equal(await resuming, true);
  assert.equal(ended, 0);
  assert.equal((await api.GET("/api/v1/auth/me")).data?.email, email);
});

test("who deletes the account is signed out", async () => {
  let ended = 0;
  const { api } = await signIn({ onSignedOut: () => ended++ });

  assert.equal((await api.DELETE("/api/v1/auth/me")).response.status, 204);

  assert.equal(ended, 1);
});

test("a caller's own token is left alone", async () => {
  const { api } = await signIn();

  const { error } = await api.GET("/api/v1/auth/me", { headers: { Authorization: "Bearer mine" } });

  assert.equal(error?.code, "access_token.invalid");
});

test("a request that was cancelled leaves nothing behind", async () => {
  const { api, email } = await signIn();
  const cancelled = api.GET("/api/v1/auth/me", { signal: AbortSignal.abort() });

  await assert.rejects(cancelled, { name: "AbortError" });
  assert.equal((await api.GET("/api/v1/auth/me")).data?.email, email);
});

test("a frontend's server tells the address of the person it calls for", async () => {
  const { api } = await signIn({ caller: { secret: CALLER_SECRET, clientIp: "203.0.113.7" } });

  const { data } = await api.GET("/api/v1/auth/sessions");

  assert.equal(data?.data[0]?.ip_prefix, "203.0.113.0/24");
});
