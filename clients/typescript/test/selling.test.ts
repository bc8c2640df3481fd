/** The snippets of docs/selling-shares.md, from the registration of a master to a purchase. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { test } from "node:test";

import { dataOf, type Client } from "../src/index.ts";
import { GUIDES, signIn } from "./support.ts";

interface Guide {
  upload(api: Client, master_id: string, kind: "audio" | "cover", file: Blob): Promise<void>;
  preview(api: Client, master_id: string, quantity: number): Promise<{ total: number }>;
  buy(api: Client, master_id: string, quantity: number, total: number, key: string): Promise<object>;
}

async function load(name: string): Promise<Guide> {
  const source = stripTypeScriptTypes(await readFile(join(GUIDES, `${name}.ts`), "utf8"));
  const file = join(GUIDES, `${name}.js`);
  await writeFile(file, source.replace('"@audifi/api"', JSON.stringify(new URL("../src/index.ts", import.meta.url))));
  return (await import(file)) as Guide;
}

async function fileOf(variable: string, type: string): Promise<Blob> {
  return new Blob([await readFile(process.env[variable]!)], { type });
}

const withKey = () => ({ "idempotency-key": crypto.randomUUID() });
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();

/** An offering that is open for purchases. */
async function open(api: Client, upload: Guide["upload"]): Promise<string> {
  const body = {
    type: "track" as const,
    title: "Night Drive",
    description: "A song.",
    genre: "House",
    release_date: "2026-01-31",
    tracks: [{ title: "Night Drive", isrc: null, iswc: null }],
  };
  const master = dataOf(await api.POST("/api/v1/masters", { params: { header: withKey() }, body }));
  await upload(api, master.id, "audio", await fileOf("AUDIO", "audio/wav"));
  await upload(api, master.id, "cover", await fileOf("COVER", "image/png"));
  const params = { path: { master_id: master.id } };
  const { version } = dataOf(await api.GET("/api/v1/rights-statement"));
  const confirmation = { statement_version: version, accepted: true as const, holder: "owner" as const };
  dataOf(await api.POST("/api/v1/masters/{master_id}/confirm-rights", { params, body: confirmation }));
  dataOf(await api.POST("/api/v1/masters/{master_id}/submit", { params }));
  const terms = {
    currency: "USD",
    total_shares: 100,
    unit_price: 250,
    max_per_account: 50,
    opens_at: inSeconds(1),
    ends_at: inSeconds(86_400),
  };
  dataOf(await api.POST("/api/v1/masters/{master_id}/ipo", { params: { ...params, header: withKey() }, body: terms }));
  dataOf(await api.POST("/api/v1/masters/{master_id}/ipo/launch", { params: { ...params, header: withKey() } }));
  for (;;) {
    const { status } = dataOf(await api.GET("/api/v1/masters/{master_id}/ipo", { params }));
    if (status === "live") return master.id;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("a fan buys shares, and errors name the missing amount and the new price", async () => {
  const { upload } = await load("sell");
  const { buy, preview } = await load("buy");
  const master = await open((await signIn()).api, upload);
  const { api } = await signIn();
  const { total } = await preview(api, master, 10);
  const key = crypto.randomUUID();

  const poor = await buy(api, master, 10, total, key);
  const deposit = { currency: "USD", amount: total };
  dataOf(await api.POST("/api/v1/ledger/deposits", { params: { header: withKey() }, body: deposit }));
  const stale = await buy(api, master, 10, total - 1, crypto.randomUUID());
  const bought = await buy(api, master, 10, total, key);
  const again = await buy(api, master, 10, total, key);
  const greedy = await buy(api, master, 90, 90 * 250, crypto.randomUUID());

  assert.deepEqual(poor, { kind: "deposit", missing: 2500 });
  assert.deepEqual(stale, { kind: "ask_again", total: 2500 });
  assert.deepEqual(bought, { kind: "bought", serials: [[1, 10]] });
  assert.deepEqual(again, bought);
  assert.equal((greedy as { kind: string }).kind, "refused");
});
