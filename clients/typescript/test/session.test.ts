/** Several clients on one store, and what a client tells of its session. */
import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { ApiError, createClient, dataOf, memoryStore, type AuthState, type Client, type Store } from "../src/index.ts";
import type { Fetch } from "../src/retry.ts";
import { API_URL, between, signIn } from "./support.ts";

/** As a system's keychain is. */
function slowStore(token: string | null): Store {
  const store = memoryStore(token);
  return {
    read: async () => store.read(),
    write: async (next) => {
      await Promise.resolve();
      await store.write(next);
    },
  };
}

function on(store: Store, fetch?: Fetch): Client {
  return createClient({ baseUrl: API_URL, delivery: "body", store, ...(fetch && { fetch }) });
}

const emailOf = async (api: Client) => (await api.GET("/api/v1/auth/me")).data?.email;

/** Holds the answers of `/refresh`, or the requests for them, until they are released. */
function holding(what: "request" | "answer") {
  const held: (() => void)[] = [];
  const hold = () => new Promise<void>((resolve) => held.push(resolve));
  const asked: string[] = [];
  const fetching = between(async (path, request) => {
    if (!path.endsWith("/refresh")) return null;
    asked.push(((await request.clone().json()) as { refresh_token: string }).refresh_token);
    if (what === "request" && asked.length === 1) await hold();
    const response = await fetch(request);
    if (what === "answer" && asked.length === 1) await hold();
    return response;
  });
  const reached = async () => {
    while (held.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  return { fetching, asked, reached, release: () => held[0]!() };
}

for (const [kind, make] of Object.entries({ memory: memoryStore, keychain: slowStore })) {
  test(`two clients on one ${kind} store refresh in turns, however far one is behind`, async () => {
    const store = make(null);
    const { api: first, email } = await signIn({ store });
    const second = on(store);
    assert.equal(await second.resume(), true);
    assert.equal(await second.resume(), true);

    assert.equal(await first.resume(), true);
    assert.equal(await second.resume(), true);

    assert.equal(await emailOf(first), email);
    assert.equal(await emailOf(second), email);
  });
}

test("a client whose session is refused takes the one that another has started meanwhile", async () => {
  const store = memoryStore();
  const { api: old } = await signIn({ store });
  const { fetching, asked, reached, release } = holding("request");
  const second = on(store, fetching);
  const resuming = second.resume();
  await reached();
  await old.signOut();
  const { email } = await signIn({ store });
  release();

  assert.equal(await resuming, true);
  assert.equal(await emailOf(second), email);
  assert.equal(asked.length, 2);
});

test("a client's answer doesn't replace what another has stored meanwhile", async () => {
  const store = memoryStore();
  await signIn({ store });
  const { fetching, reached, release } = holding("answer");
  const second = on(store, fetching);
  const resuming = second.resume();
  await reached();
  const { email } = await signIn({ store });
  release();

  assert.equal(await resuming, true);
  assert.equal(await emailOf(second), email);
  assert.equal(await emailOf(on(store)), email);
});

test("a client that is refused while another signs in leaves the new token", async () => {
  const store = memoryStore("art1_not-a-token");
  const { fetching, reached, release } = holding("answer");
  const second = on(store, fetching);
  const resuming = second.resume();
  await reached();
  const { email } = await signIn({ store });
  release();

  assert.equal(await resuming, true);
  assert.equal(await emailOf(on(store)), email);
});

test("a client on a store that was emptied is signed out without asking", async () => {
  const store = memoryStore();
  const { api: first } = await signIn({ store });
  const asked: string[] = [];
  const second = on(store, between((path) => void asked.push(path) as never));
  assert.equal(await second.resume(), true);
  await first.signOut();
  asked.length = 0;

  assert.equal(await second.resume(), false);

  assert.deepEqual(asked, []);
  assert.equal(second.authState().status, "signed_out");
});

test("subscribers hear of each change, and only of changes", async () => {
  const store = memoryStore();
  const { api: first } = await signIn({ store });
  const api = on(store);
  const states: AuthState[] = [api.authState()];
  const unsubscribe = api.subscribe(() => states.push(api.authState()));

  await api.resume();
  await api.resume();
  assert.equal(api.authState(), states.at(-1)); // the same object, as React wants it
  await api.signOut();
  await api.resume();
  unsubscribe();
  await signIn({ store });
  await api.resume();

  assert.deepEqual(states, [
    { status: "unknown", sessionId: null },
    first.authState(),
    { status: "signed_out", sessionId: null },
  ]);
  assert.equal(states[1]?.status, "signed_in");
  assert.equal(api.authState().status, "signed_in");
});

test("subscribers hear of another account's session", async () => {
  const store = memoryStore();
  const { api } = await signIn({ store });
  const before = api.authState().sessionId;
  let changes = 0;
  api.subscribe(() => changes++);
  const { api: other } = await signIn({ store });

  await api.resume();

  assert.equal(changes, 1);
  assert.notEqual(api.authState().sessionId, before);
  assert.equal(api.authState().sessionId, other.authState().sessionId);
});

test("a client tries twice at most, and leaves what others store", async () => {
  let reads = 0;
  const written: unknown[] = [];
  const asked: string[] = [];
  const store = { read: () => `art1_${reads++}`, write: (token: unknown) => void written.push(token) };
  const api = on(store, between((path) => void asked.push(path) as never));

  assert.equal(await api.resume(), false);

  assert.equal(asked.length, 2);
  assert.deepEqual(written, []);
});

test("an access token that is handed out is good for a minute", async () => {
  const { api } = await signIn();
  const first = await api.accessToken();
  assert.equal(await api.accessToken(), first);
  mock.method(Date, "now", () => Date.prototype.getTime.call(new Date()) + 541_000);

  const second = await api.accessToken();

  assert.notEqual(second, first);
  mock.restoreAll();
  await api.signOut();
  assert.equal(await api.accessToken(), null);
});

test("errors are thrown where the caller wants it", async () => {
  const { api, email } = await signIn();
  assert.equal(dataOf(await api.GET("/api/v1/auth/me")).email, email);
  await api.signOut();
  const answer = await api.GET("/api/v1/auth/me");

  assert.throws(() => dataOf(answer), (error) => error instanceof ApiError && error.problem.code === "access_token.missing");
});

test("a refresh that isn't answered is given up, and ends no session", async () => {
  const timeout = new AbortController();
  let isDead = false;
  const { api } = await signIn({
    fetch: (request) => {
      if (!isDead) return fetch(request);
      timeout.abort(new DOMException("", "TimeoutError"));
      return fetch(request);
    },
  });
  mock.method(AbortSignal, "timeout", () => timeout.signal);
  isDead = true;

  await assert.rejects(api.resume(), { name: "TimeoutError" });

  mock.restoreAll();
  isDead = false;
  assert.equal(await api.resume(), true);
});
