/** Several tabs of one browser, and pages on which nobody is signed in. */
import assert from "node:assert/strict";
import { test } from "node:test";

import type { BrowserContext, Page } from "playwright-core";

import { newContext, open, signInOn, whoAmI } from "./pages.ts";

const resume = (page: Page) => page.evaluate(() => api.resume());

/** The refreshes that the context's pages send, and a hold on the first of them. */
async function holdFirstRefresh(context: BrowserContext) {
  let count = 0;
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await context.route("**/api/v1/auth/refresh", async (route) => {
    if (route.request().method() === "POST" && ++count === 1) await held;
    await route.continue();
  });
  return { count: () => count, release };
}

test("two tabs that keep the refresh token use the newest one, however far one is behind", async () => {
  const context = await newContext();
  const first = await open(context, { inBody: true });
  const email = await signInOn(first, "body");
  const second = await open(context, { inBody: true });
  for (const page of [second, first, first, second]) assert.equal(await resume(page), true);

  assert.equal(await whoAmI(first), email);
  assert.equal(await whoAmI(second), email);
  await context.close();
});

for (const inBody of [false, true]) {
  test(`tabs refresh one after the other, ${inBody ? "with the token in localStorage" : "with the cookie"}`, async () => {
    const context = await newContext();
    const first = await open(context, { inBody });
    const email = await signInOn(first, inBody ? "body" : "cookie");
    const second = await open(context, { inBody });
    const refreshes = await holdFirstRefresh(context);

    const begun = resume(first);
    await first.waitForFunction(async () => (await navigator.locks.query()).held?.length === 1);
    const waiting = resume(second);
    await second.waitForFunction(async () => (await navigator.locks.query()).pending?.length === 1);
    assert.ok(refreshes.count() <= 1);
    refreshes.release();

    assert.deepEqual(await Promise.all([begun, waiting]), [true, true]);
    assert.equal(refreshes.count(), 2);
    assert.equal(await whoAmI(second), email);
    await context.close();
  });
}

test("all tabs hear of a sign-out and of a sign-in", async () => {
  const context = await newContext();
  const [first, second] = [await open(context), await open(context)];
  const email = await signInOn(first);
  await second.waitForFunction(() => api.authState().status === "signed_in" || void api.resume());

  await first.evaluate(() => api.signOut());
  await second.waitForFunction(() => api.authState().status === "signed_out");
  assert.equal(await second.evaluate(() => globalThis.ended), 1);

  const other = await signInOn(first);
  await second.waitForFunction(() => api.authState().status === "signed_in");
  assert.equal(await whoAmI(second), other);
  assert.notEqual(other, email);
  await context.close();
});

test("a page on which nobody is signed in asks nothing and shows no error", async () => {
  const context = await newContext();
  const page = await open(context);
  const asked: string[] = [];
  const errors: string[] = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));

  assert.equal(await resume(page), false);
  assert.equal(await page.evaluate(() => api.authState().status), "signed_out");

  // After a sign-out, too.
  await signInOn(page);
  await page.evaluate(() => api.signOut());
  asked.length = 0;
  const later = await open(context);
  later.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  assert.equal(await resume(later), false);
  assert.deepEqual(asked, []);
  assert.deepEqual(errors, []);
  await context.close();
});

test("what localStorage holds is no secret", async () => {
  const context = await newContext();
  const page = await open(context);
  await signInOn(page);

  const [stored, sessionId] = await page.evaluate(() => [Object.values(localStorage), api.authState().sessionId]);

  assert.deepEqual(stored, [sessionId]);
  await context.close();
});

test("a page that can't use localStorage asks the API", async () => {
  const context = await newContext();
  await context.addInitScript(() => Object.defineProperty(globalThis, "localStorage", { get: () => { throw new DOMException("", "SecurityError"); } }));
  const page = await open(context);
  const email = await signInOn(page);
  assert.equal(await resume(page), true);
  const later = await open(context);

  assert.equal(await resume(later), true);
  assert.equal(await whoAmI(later), email);
  await context.close();
});

test("a page that shares its session with another origin asks the API if told to", async () => {
  const context = await newContext();
  const page = await open(context);
  const email = await signInOn(page);
  await page.evaluate(() => localStorage.clear()); // as on another origin
  assert.equal(await resume(await open(context)), false);
  const other = await open(context, { alwaysAsk: true });

  assert.equal(await resume(other), true);
  assert.equal(await whoAmI(other), email);
  await context.close();
});
