/** The snippets of docs/frontends.md that take money, and a person who clicks through the pages of Stripe's stand-in. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { test } from "node:test";

import { chromium } from "playwright-core";

import { dataOf, type Client } from "../src/index.ts";
import { CHROMIUM, GUIDES, signIn } from "./support.ts";

interface Guide {
  startDeposit(api: Client, amount: number, key: string): Promise<string>;
  finishDeposit(api: Client, page: URL): Promise<string>;
  startPlan(api: Client, plan: "PRO" | "ENTERPRISE", price: number, key: string): Promise<string>;
}

async function load(name: string): Promise<Guide> {
  const source = stripTypeScriptTypes(await readFile(join(GUIDES, `${name}.ts`), "utf8"));
  const file = join(GUIDES, `${name}.js`);
  await writeFile(file, source.replace('"@audifi/api"', JSON.stringify(new URL("../src/index.ts", import.meta.url))));
  return (await import(file)) as Guide;
}

test("a person is declined, pays, comes back, and has the money", async () => {
  const { startDeposit, finishDeposit } = await load("deposit");
  const { api } = await signIn();
  const balance = async () => {
    const { data } = dataOf(await api.GET("/api/v1/ledger/accounts"));
    return data.find((account) => account.purpose === "available")?.balance ?? 0;
  };
  const key = crypto.randomUUID();
  const url = await startDeposit(api, 2500, key);
  assert.equal(await startDeposit(api, 2500, key), url);
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    await page.route(/\/wallet\?/, (route) => route.fulfill({ body: "Your wallet" }));
    await page.goto(url);
    await page.getByRole("button", { name: "Decline" }).click();
    await page.getByRole("alert").getByText("declined").waitFor();
    const back = await page.getByRole("link", { name: "Back" }).getAttribute("href");
    assert.equal(await finishDeposit(api, new URL(back!)), "open"); // the address proves nothing
    assert.equal(await balance(), 0);
    await page.getByRole("button", { name: "Pay", exact: true }).click();
    await page.getByText("Your wallet").waitFor();
    assert.equal(await finishDeposit(api, new URL(page.url())), "complete");
    assert.equal(await balance(), 2500);
  } finally {
    await browser.close();
  }
});

test("a person buys a plan, comes back, and has it", async () => {
  const [{ startPlan }, { finishDeposit }] = await Promise.all([load("plan"), load("deposit")]);
  const { api } = await signIn();
  const { data: plans } = dataOf(await api.GET("/api/v1/payments/plans"));
  const price = plans.find((plan) => plan.id === "PRO")!.prices[0]!.unit_amount;
  const url = await startPlan(api, "PRO", price, crypto.randomUUID());
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    await page.route(/\/plan\?/, (route) => route.fulfill({ body: "Your plan" }));
    await page.goto(url);
    await page.getByRole("button", { name: "Pay", exact: true }).click();
    await page.getByText("Your plan").waitFor();
    assert.equal(await finishDeposit(api, new URL(page.url())), "complete");
    assert.equal(dataOf(await api.GET("/api/v1/payments/subscription")).plan, "PRO");
  } finally {
    await browser.close();
  }
});
