/** In a real Chromium, on a page of another origin than the API's: CORS, cookies, refresh. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

import type { createClient } from "../src/index.ts";
import { API_URL, APP_PORT, CHROMIUM, codeFor, newAddress } from "./support.ts";

declare global {
  var api: ReturnType<typeof createClient>;
  var ended: number;
}

const FILES: Record<string, [file: string, type: string]> = {
  "/": ["page.html", "text/html"],
  "/index.js": ["../dist/index.js", "text/javascript"],
  "/openapi-fetch.js": ["../node_modules/openapi-fetch/dist/index.mjs", "text/javascript"],
};

async function servePage(port: number): Promise<Server> {
  const server = createServer(async (request, response) => {
    const [file, type] = FILES[request.url ?? ""] ?? [];
    if (!file || !type) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "Content-Type": type }).end(await readFile(new URL(file, import.meta.url)));
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

function urlOf(server: Server): string {
  return `http://localhost:${(server.address() as AddressInfo).port}`;
}

let browser: Browser;
let app: Server;
let stranger: Server;

before(async () => {
  // Chromium's sandbox doesn't start as root, and needn't: it opens our own pages.
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  app = await servePage(APP_PORT);
  stranger = await servePage(0);
});

after(async () => {
  await browser.close();
  app.close();
  stranger.close();
});

async function open(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForFunction(() => "createClient" in globalThis);
  await page.evaluate((baseUrl) => {
    globalThis.ended = 0;
    const { createClient: create } = globalThis as unknown as { createClient: typeof createClient };
    globalThis.api = create({ baseUrl, onSignedOut: () => globalThis.ended++ });
  }, API_URL);
  return page;
}

async function signIn(page: Page): Promise<string> {
  const email = newAddress();
  const flow = await page.evaluate(
    async (address) => (await api.POST("/api/v1/auth/magic-link/request", { body: { email: address } })).data,
    email,
  );
  assert.ok(flow);
  assert.equal(flow.flow_secret, undefined);
  const status = await page.evaluate(
    async (body) => (await api.POST("/api/v1/auth/magic-link/verify", { body })).response.status,
    { flow_id: flow.flow_id, code: await codeFor(email) },
  );
  assert.equal(status, 200);
  return email;
}

const whoAmI = (page: Page) => page.evaluate(async () => (await api.GET("/api/v1/auth/me")).data?.email);

test("a page of another origin signs in, calls, refreshes and signs out", async () => {
  const context = await browser.newContext();
  const page = await open(context, urlOf(app));
  const preflights: string[] = [];
  page.on("response", (response) => {
    if (response.request().method() === "OPTIONS") preflights.push(response.url());
  });

  const email = await signIn(page);
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
  const later = await open(context, urlOf(app));
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
  const context = await browser.newContext();
  const first = await open(context, urlOf(app));
  const email = await signIn(first);
  const second = await open(context, urlOf(app));

  const resumed = await Promise.all([first, second].map((page) => page.evaluate(() => api.resume())));

  assert.deepEqual(resumed, [true, true]);
  assert.equal(await whoAmI(first), email);
  assert.equal(await whoAmI(second), email);
  await context.close();
});

test("a page of an origin that the API doesn't know can do nothing with somebody's cookie", async () => {
  const context = await browser.newContext();
  await signIn(await open(context, urlOf(app)));
  const page = await open(context, urlOf(stranger));

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
  const back = await open(context, urlOf(app));
  assert.equal(await back.evaluate(() => api.resume()), true);
  await context.close();
});
