// What both Node servers do alike, and what isn't their framework's business: settings, tokens, health's probe, problems.
import { randomUUID } from "node:crypto";
import { createVerifier } from "fast-jwt";
import pg from "pg";

export const PORT = Number(process.env.PORT);
export const HOST = "127.0.0.1";
export const DATABASE_URL = process.env.DATABASE_URL;
export const POOL_SIZE = 15; // as many as ours: 5, 5 more when it is busy, and 5 for reads
const { VERSION, JWT_SECRET, TOKEN_ISSUER, TOKEN_AUDIENCE } = process.env;

// Without its cache: ours has one, and docs/performance.md says so. `jose` is as common, but goes through WebCrypto,
// which answers by a promise and a thread of libuv's; for a hash of 500 bytes that costs more than the hash.
const verify = createVerifier({
  key: JWT_SECRET,
  algorithms: ["HS256"],
  allowedIss: TOKEN_ISSUER,
  allowedAud: TOKEN_AUDIENCE,
  checkTyp: "at+jwt",
  clockTolerance: 5000,
  requiredClaims: ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "auth_time", "amr"],
});

const MISSING = {
  status: 401,
  code: "access_token.missing",
  title: "Sign in",
  detail: "This needs an access token: `Authorization: Bearer …`, and nowhere else.",
  challenge: "Bearer",
};
const INVALID = {
  status: 401,
  code: "access_token.invalid",
  title: "The access token isn't good",
  detail: "Refresh the session, then try again.",
  challenge: 'Bearer error="invalid_token"',
};

export class Problem extends Error {
  // A refusal is an answer like any other: it has no use for a stack, which is most of what an Error costs.
  constructor(told) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(told.code);
    Error.stackTraceLimit = limit;
    this.told = told;
  }
}

export const refused = () => new Problem(INVALID);

/** The claims of a request's access token. */
export function claims(authorization) {
  if (authorization === undefined || !/^bearer /i.test(authorization)) throw new Problem(MISSING);
  try {
    return verify(authorization.slice(7));
  } catch {
    throw refused();
  }
}

/** RFC 9457, as ours has it. */
export function problemBody({ status, code, title, detail }, instance) {
  const type = `urn:audifi:problem:${code}`;
  const request_id = randomUUID().replaceAll("-", "");
  return JSON.stringify({ type, title, status, detail, instance, code, request_id });
}

/** PostgreSQL's text of a timestamptz, in UTC, as RFC 3339. A Date would lose its microseconds. */
export const instant = (text) => text.replace(" ", "T").replace("+00", "Z");

export const clean = (name) => {
  const bare = typeof name === "string" ? name.trim() : name;
  const fits = bare === null || (typeof bare === "string" && bare.length >= 1 && bare.length <= 80);
  if (!fits) throw new Problem({ status: 422, code: "request.invalid", title: "The request isn't valid" });
  return bare;
};

// One fresh connection and SELECT 1, shared by all who ask, and reused for a second: docs/decisions/0002.
let probing, endedAt;

async function probe() {
  const client = new pg.Client({ connectionString: DATABASE_URL, connectionTimeoutMillis: 1500, query_timeout: 1500 });
  try {
    await client.connect();
    await client.query("SELECT 1");
    return true;
  } catch {
    return false;
  } finally {
    client.end().catch(() => {});
    endedAt = performance.now();
  }
}

export function databaseConnected() {
  if (probing === undefined || performance.now() - endedAt >= 1000) {
    endedAt = Infinity;
    probing = probe();
  }
  return probing;
}

export function health(connected) {
  return {
    status: connected ? "ok" : "degraded",
    timestamp: `${new Date().toISOString().slice(0, 19)}Z`,
    version: VERSION,
    dependencies: { database: connected ? "connected" : "disconnected" },
  };
}
