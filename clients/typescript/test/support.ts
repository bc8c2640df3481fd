/** The running server that `make test-client` starts, and the mails that it would send. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { createClient, type Client, type Options } from "../src/index.ts";
import type { Fetch } from "../src/retry.ts";

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} isn't set; run these by \`make test-client\``);
  return value;
}

export const API_URL = given("API_URL");
export const APP_PORT = Number(given("APP_PORT"));
export const MAIL_FOLDER = given("MAIL_FOLDER");
/** Of a server that may tell whom it calls for. */
export const CALLER_SECRET = given("CALLER_SECRET");
/** The folder of the guides' snippets. */
export const GUIDES = given("GUIDES");
/** Where the browser is. */
export const CHROMIUM = given("CHROMIUM");

export function newAddress(): string {
  return `ana-${crypto.randomUUID().slice(0, 13)}@example.com`;
}

/** The mail to an address, once it is there. */
async function mailTo(email: string): Promise<string> {
  for (let tries = 0; tries < 200; tries++) {
    const names = (await readdir(MAIL_FOLDER).catch(() => [])).filter((name) => name.endsWith(".eml"));
    for (const name of names) {
      const mail = await readFile(join(MAIL_FOLDER, name), "utf8");
      if (mail.includes(`To: ${email}`)) return mail.replaceAll(/=\r?\n/g, "").replaceAll("=3D", "=");
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`no mail to ${email}`);
}

/** The 8 digits of the mail to an address. */
export async function codeFor(email: string): Promise<string> {
  const [, first, last] = /^\s*(\d{4}) (\d{4})\s*$/m.exec(await mailTo(email))!;
  return `${first}${last}`;
}

export async function linkFor(email: string): Promise<string> {
  return /http\S+#token=[\w-]{43}/.exec(await mailTo(email))![0];
}

/** A client that somebody has signed in with, without cookies. */
export async function signIn(options: Partial<Options> = {}): Promise<{ api: Client; email: string }> {
  const api = createClient({ baseUrl: API_URL, delivery: "body", ...options });
  const email = newAddress();
  const { data: flow, error } = await api.POST("/api/v1/auth/magic-link/request", { body: { email, delivery: "body" } });
  assert.ok(flow, JSON.stringify(error));
  const body = { flow_id: flow.flow_id, flow_secret: flow.flow_secret!, code: await codeFor(email) };
  const verified = await api.POST("/api/v1/auth/magic-link/verify", { body });
  assert.equal(verified.response.status, 200, JSON.stringify(verified.error));
  return { api, email };
}

/** Answers in the API's place, as what is between here and there does; null lets a request through. */
export function between(answer: (path: string, request: Request) => Response | Promise<Response | null> | null): Fetch {
  return async (request) => (await answer(new URL(request.url).pathname, request)) ?? fetch(request);
}
