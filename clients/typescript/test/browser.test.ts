/** In a real Chromium, on a page of another origin than the API's: CORS, cookies, refresh. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { newContext, open, signInOn, whoAmI } from "./pages.ts";
import { API_URL } from "./support.ts";

test("a page of another origin signs in, calls, refreshes and signs out", async () => {
  const context = await newContext();
  const page = await open(context);
  const preflights: string[] = [];
  page.on("response", (response) => {
    if (response.request().method() === "OPTIONS") preflights.push(response.url());
  });

  const email = await signInOn(page);
  assert.equal(await whoAmI(page), email);

  const cookies = await context.cookies(API_URL);
  const refresh = cookies.find((cookie) => cookie.name.endsWith("audifi_refresh"));
  assert.ok(refresh?.httpOnly);
  assert.equal(refresh.sameSite, "Strict");
  assert.equal(await page.evaluate(() => document.cookie), "");

  const [limit, requestId] = await page.evaluate(async () => {
    const { response } = await api.GET("/api/v1/auth/me", { headers: { "X-Request-ID": "from-the-page" } });
    return [response.headers.get("RateLimit"), response.headers.get("X-Request-ID")];
  });
  assert.match(limit ?? "", /"client";r=\d+;t=\d+/);
  assert.equal(requestId, "from-the-page");

  // Loaded again, the page has no access token: it resumes by the cookie, which is another one then.
  await page.close();
  const later = await open(context);
  assert.equal(await later.evaluate(() => api.resume()), true);
  assert.equal(await whoAmI(later), email);
  const next = (await context.cookies(API_URL)).find((cookie) => cookie.name === refresh.name);
  assert.ok(next);
  assert.notEqual(next.value, refresh.value);

  await later.evaluate(() => api.signOut());
  assert.equal(await later.evaluate(() => globalThis.ended), 1);
  assert.equal((await context.cookies(API_URL)).length, 0);
  assert.equal(await later.evaluate(() => api.resume()), false);
  await context.close();
});

test("two tabs that resume at once both stay signed in", async () => {
  const context = await newContext();
  const first = await open(context);
  const email = await signInOn(first);
  const second = await open(context);

  const resumed = await Promise.all([first, second].map((page) => page.evaluate(() => api.resume())));

  assert.deepEqual(resumed, [true, true]);
  assert.equal(await whoAmI(first), email);
  assert.equal(await whoAmI(second), email);
  await context.close();
});

test("a page of an origin that the API doesn't know can do nothing with somebody's cookie", async () => {
  const context = await newContext();
  await signInOn(await open(context));
  const page = await open(context, { of: "stranger" });

  for (const credentials of ["include", "omit"] as const) {
    const outcome = await page.evaluate(
      async ([url, mode]) => {
        try {
          const response = await fetch(`${url}/api/v1/auth/refresh`, {
            method: "POST",
            credentials: mode as RequestCredentials,
            headers: { "Content-Type": "application/json" },
            body: "{}",
          });
          return response.status;
        } catch (error) {
          return (error as Error).name;
        }
      },
      [API_URL, credentials] as const,
    );
    assert.equal(outcome, "TypeError");
  }
  // What asks nobody first, as forms and images do, gets nothing either, and the cookie does nothing.
  const blind = await page.evaluate(async (url) => {
    const options: RequestInit = { method: "POST", mode: "no-cors", credentials: "include" };
    return fetch(`${url}/api/v1/auth/logout`, options).then(
      () => "answered",
      () => "kept back",
    );
  }, API_URL);
  assert.equal(blind, "kept back");
  const back = await open(context);
  assert.equal(await back.evaluate(() => api.resume()), true);
  await context.close();
});
