/** The snippets of docs/frontends.md, which `make test-client` writes into a folder. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { before, test } from "node:test";

import type { Page } from "playwright-core";

import { memoryStore, type Client, type Store } from "../src/index.ts";
import { more, newContext, open, whoAmI } from "./pages.ts";
import { API_URL, APP_PORT, GUIDES, linkFor, newAddress } from "./support.ts";

const ORIGIN = `http://localhost:${APP_PORT}`;
const HTML = `<!doctype html><script type="importmap">
{"imports": {"openapi-fetch": "/openapi-fetch.js", "@audifi/api": "/index.js"}}
</script><main></main><script type="module" src="/verify"></script>`;

interface App {
  api: Client;
  requestLink(email: string): Promise<void>;
  openLink(link: string): Promise<{ response: Response }>;
}

async function snippet(name: string): Promise<string> {
  const text = await readFile(join(GUIDES, name), "utf8");
  return stripTypeScriptTypes(text.replaceAll("https://api.example.com", API_URL));
}

before(async () => {
  for (const name of ["api", "verify"]) more.set(`/${name}`, [await snippet(`${name}.ts`), "text/javascript"]);
  more.set("/auth/verify", [HTML, "text/html"]);
  more.set("/welcome", ["<!doctype html><title>Welcome</title>", "text/html"]);
});

/** Request a link on a page of the frontend, and return it. */
async function requestLink(page: Page): Promise<{ email: string; link: string }> {
  const body = { email: newAddress(), redirect_to: "/welcome" };
  await page.evaluate(async (sent) => api.POST("/api/v1/auth/magic-link/request", { body: sent }), body);
  return { email: body.email, link: await linkFor(body.email) };
}

test("the link's page signs in at once in the browser that requested the link", async () => {
  const context = await newContext();
  const { email, link } = await requestLink(await open(context));
  const page = await context.newPage();

  await page.goto(link);
  await page.waitForURL(`${ORIGIN}/welcome`);

  const later = await open(context);
  assert.equal(await later.evaluate(() => globalThis.api.resume()), true);
  assert.equal(await whoAmI(later), email);
  await context.close();
});

test("the link's page asks the person in another browser, and the link isn't used up", async () => {
  const asking = await newContext();
  const { email, link } = await requestLink(await open(asking));
  const context = await newContext();
  for (const visit of ["a scanner's", "the person's"]) {
    const page = await context.newPage();
    await page.goto(link);
    const button = page.getByRole("button");
    assert.match((await button.textContent()) ?? "", /^Sign in as a.*@example\.com$/);
    assert.equal(new URL(page.url()).hash, "", visit);
    if (visit === "a scanner's") continue;
    await button.click();
    await page.waitForURL(`${ORIGIN}/welcome`);
  }

  const later = await open(context);
  assert.equal(await later.evaluate(() => globalThis.api.resume()), true);
  assert.equal(await whoAmI(later), email);
  await Promise.all([asking.close(), context.close()]);
});

test("the link's page says what is wrong with a link", async () => {
  const context = await newContext();
  const page = await context.newPage();

  await page.goto(`${ORIGIN}/auth/verify#token=${"A".repeat(43)}`);

  await page.getByText("Request a new one.").waitFor();
  await context.close();
});

test("an app signs in with the link that it requested", async () => {
  const source = (await snippet("app.ts")).replace('"@audifi/api"', JSON.stringify(new URL("../src/index.ts", import.meta.url)));
  await writeFile(join(GUIDES, "app.js"), source);
  const { createApp } = (await import(join(GUIDES, "app.js"))) as {
    createApp(keychain: Store): App;
  };
  const { api, requestLink: request, openLink } = createApp(memoryStore());
  const email = newAddress();
  await request(email);

  const { response } = await openLink(await linkFor(email));

  assert.equal(response.status, 200);
  assert.equal((await api.GET("/api/v1/auth/me")).data?.email, email);
});
