/** A Chromium, and pages of a frontend that use the built client. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before } from "node:test";

import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

import type * as client from "../src/index.ts";
import { API_URL, APP_PORT, CHROMIUM, codeFor, newAddress } from "./support.ts";

declare global {
  var audifi: typeof client;
  var api: client.Client;
  var ended: number;
}

/** More files of the frontend's origin, by path. */
export const more = new Map<string, [body: string, type: string]>();

async function fileOf(path: string): Promise<[body: Buffer | string, type: string] | null> {
  const module = /^\/(\w+\.js)$/.exec(path)?.[1];
  if (path === "/") return [await readFile(new URL("page.html", import.meta.url)), "text/html"];
  if (path === "/openapi-fetch.js") {
    return [await readFile(new URL("../node_modules/openapi-fetch/dist/index.mjs", import.meta.url)), "text/javascript"];
  }
  const other = more.get(path);
  if (other) return other;
  return module ? [await readFile(new URL(`../dist/${module}`, import.meta.url)), "text/javascript"] : null;
}

async function servePage(port: number): Promise<Server> {
  const server = createServer(async (request, response) => {
    const file = await fileOf(request.url ?? "");
    if (file) response.writeHead(200, { "Content-Type": file[1] }).end(file[0]);
    else response.writeHead(204).end();
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

let app: Server;
let stranger: Server;
let browser: Browser;

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

/** Cookies and stores of its own. */
export const newContext = () => browser.newContext();

/** Open a page of an origin, with a client. `inBody`: it keeps its refresh token in localStorage, not in a cookie. */
export async function open(
  context: BrowserContext,
  { of = "app", inBody = false, alwaysAsk = false }: { of?: "app" | "stranger"; inBody?: boolean; alwaysAsk?: boolean } = {},
): Promise<Page> {
  const page = await context.newPage();
  const server = of === "app" ? app : stranger;
  await page.goto(`http://localhost:${(server.address() as AddressInfo).port}`);
  await page.waitForFunction(() => "audifi" in globalThis);
  await page.evaluate(
    ([baseUrl, keepsToken, asks]) => {
      globalThis.ended = 0;
      const { createClient, localStore } = globalThis.audifi;
      globalThis.api = createClient({
        baseUrl,
        alwaysAsk: asks,
        ...(keepsToken && { delivery: "body", store: localStore("token") }),
        onSignedOut: () => globalThis.ended++,
      });
    },
    [API_URL, inBody, alwaysAsk] as const,
  );
  return page;
}

export async function signInOn(page: Page, delivery: "cookie" | "body" = "cookie"): Promise<string> {
  const email = newAddress();
  const flow = await page.evaluate(
    async (body) => (await api.POST("/api/v1/auth/magic-link/request", { body })).data,
    { email, delivery },
  );
  assert.ok(flow);
  assert.equal(typeof flow.flow_secret, delivery === "body" ? "string" : "undefined");
  const status = await page.evaluate(async (body) => (await api.POST("/api/v1/auth/magic-link/verify", { body })).response.status, {
    flow_id: flow.flow_id,
    code: await codeFor(email),
    ...(flow.flow_secret && { flow_secret: flow.flow_secret }),
  });
  assert.equal(status, 200);
  return email;
}

export const whoAmI = (page: Page) => page.evaluate(async () => (await api.GET("/api/v1/auth/me")).data?.email);
