/** In a real Chromium, at the API's own page /docs: signing in by clicking, and how the page looks. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

import { API_URL, CHROMIUM, codeFor, newAddress } from "./support.ts";

type Json = Record<string, string>;

let browser: Browser;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
});

after(() => browser.close());

async function open(options: BrowserContextOptions = {}): Promise<Page> {
  const page = await (await browser.newContext(options)).newPage();
  await page.goto(`${API_URL}/docs`);
  await page.locator(".opblock").first().waitFor();
  return page;
}

const block = (page: Page, operation: string) => page.locator(`#operations-auth-${operation}`);

/** Click Execute, with the example as it stands but for these fields; return the answer's status and body. */
async function execute(page: Page, operation: string, fields?: Json): Promise<[status: number, body: Json]> {
  const opened = block(page, operation);
  if (!(await opened.locator("button.execute").isVisible())) await opened.locator(".opblock-summary-control").click();
  if (fields) {
    const body = opened.locator("textarea");
    await body.fill(JSON.stringify({ ...JSON.parse(await body.inputValue()), ...fields }));
  }
  const answer = page.waitForResponse((response) => response.url().includes("/api/v1/auth/"));
  await opened.locator("button.execute").click();
  const response = await answer;
  return [response.status(), response.status() === 204 ? {} : await response.json()];
}

async function authorize(page: Page, token: string): Promise<void> {
  await page.locator("button.authorize.unlocked").click();
  const form = page.locator(".auth-container", { hasText: "http, Bearer" });
  await form.locator("input").fill(token);
  await form.locator("button.authorize").click();
  await page.locator("button.btn-done").first().click();
}

async function signIn(page: Page, email: string): Promise<Json> {
  const [requested, flow] = await execute(page, "requestMagicLink", { email });
  assert.equal(requested, 202, JSON.stringify(flow));
  const proof = { flow_id: flow["flow_id"]!, code: await codeFor(email) };
  const [verified, tokens] = await execute(page, "verifyMagicLink", proof);
  assert.equal(verified, 200, JSON.stringify(tokens));
  return tokens;
}

test("a person signs in, refreshes and signs out at /docs by clicking", async () => {
  const page = await open();
  const email = newAddress();
  const { access_token: token } = await signIn(page, email);

  await authorize(page, token!);
  const [status, me] = await execute(page, "getMe");
  assert.deepEqual([status, me["email"]], [200, email]);

  const [refreshed, tokens] = await execute(page, "refreshSession");
  assert.equal(refreshed, 200, JSON.stringify(tokens));
  const [ended] = await execute(page, "logOut");
  assert.equal(ended, 204);
  assert.equal((await page.context().cookies()).length, 0);
  await page.context().close();
});

test("at /docs, `body` works after `cookie`", async () => {
  const page = await open();
  await execute(page, "requestMagicLink", { email: newAddress() });

  const email = newAddress();
  const [, flow] = await execute(page, "requestMagicLink", { email, delivery: "body" });
  const proof = { flow_id: flow["flow_id"]!, flow_secret: flow["flow_secret"]!, code: await codeFor(email) };
  const [status, tokens] = await execute(page, "verifyMagicLink", proof);

  assert.equal(status, 200, JSON.stringify(tokens));
  assert.ok(tokens["refresh_token"]);
  await page.context().close();
});

test("locks at /docs are open until a token is given", async () => {
  const page = await open();
  const locks = page.locator("button.authorization__btn");
  const labels = () => locks.evaluateAll((buttons) => buttons.map((button) => button.getAttribute("aria-label")));
  assert.deepEqual(new Set(await labels()), new Set(["authorization button unlocked"]));
  assert.equal(await page.locator("svg[state]").count(), 0); // the document as text in each lock takes seconds

  await authorize(page, "any-token");

  await block(page, "getMe").locator("svg.locked").waitFor();
  assert.equal(await block(page, "verifyMagicLink").locator("svg.locked").count(), 0);
  await page.context().close();
});

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of [390, 1280]) {
    test(`code at /docs covers no words: ${colorScheme}, ${width} px`, async () => {
      const page = await open({ colorScheme, viewport: { width, height: 900 } });

      const covered = await page.evaluate(() => {
        const blocks = [...document.querySelectorAll(".renderedMarkdown :is(p, li), .markdown :is(p, li)")];
        return blocks.flatMap((each) => {
          const range = document.createRange();
          range.selectNodeContents(each);
          const words = [...range.getClientRects()];
          const isCovering = (chip: DOMRect) =>
            words.some((word) => {
              const isOtherLine = Math.abs(word.top + word.bottom - chip.top - chip.bottom) > chip.height;
              const isBeside = word.right <= chip.left || chip.right <= word.left;
              return isOtherLine && !isBeside && word.top < chip.bottom - 1 && chip.top < word.bottom - 1;
            });
          const codes = [...each.querySelectorAll("code")];
          return codes.filter((code) => [...code.getClientRects()].some(isCovering)).map((code) => code.textContent);
        });
      });

      assert.deepEqual(covered, []);
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
      await page.context().close();
    });
  }
}
