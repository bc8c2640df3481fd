// What both Node services do alike, whatever their framework: settings, statements, tokens, log, health, problems.
import { createHmac, randomUUID } from "node:crypto";
import { createVerifier } from "fast-jwt";
import pg from "pg";
import pino from "pino";

const { DATABASE_URL, JWT_SECRET, TOKEN_ISSUER, TOKEN_AUDIENCE } = process.env;
export { DATABASE_URL };
export const PORT = Number(process.env.PORT);
export const HOST = "127.0.0.1";
export const APP_URL = process.env.APP_URL;
export const POOL_SIZE = 15; // as the server has
export const LIMIT = Number(process.env.LIMIT); // requests a minute of a client, and of a user
export const HEALTH_PATH = "/api/v1/health";
export const FIRST_CURSOR = "ffffffff-ffff-ffff-ffff-ffffffffffff";
export const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

// Lines are written in batches, the last one after 200 ms at most.
export const logger = pino(
  { base: undefined, timestamp: pino.stdTimeFunctions.isoTime },
  pino.destination({ sync: false, minLength: 4096, periodicFlush: 200 }),
);

export const requestId = () => randomUUID().replaceAll("-", "");

export const CORS = { origin: [APP_URL], credentials: true, exposedHeaders: ["X-Request-ID", "Retry-After"] };

// The headers that the server sends, and no other.
export const HELMET = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
  },
  crossOriginResourcePolicy: { policy: "same-origin" },
  referrerPolicy: { policy: "no-referrer" },
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
  strictTransportSecurity: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xFrameOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
};

const STATEMENTS = JSON.parse(process.env.STATEMENTS);

/** A prepared statement with its values, as node-postgres takes it. */
export const statement = (name, values) => ({
  name,
  text: STATEMENTS[name].text,
  values: STATEMENTS[name].parameters.map((parameter) => values[parameter]),
});

export class Problem extends Error {
  constructor(status, code, title, detail, challenge) {
    // No stack trace: it is most of what an Error costs, and a problem is an ordinary answer.
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(code);
    Error.stackTraceLimit = limit;
    Object.assign(this, { status, code, title, detail, challenge });
  }

  /** RFC 9457. */
  body(instance, request_id) {
    const { status, code, title, detail } = this;
    return JSON.stringify({ type: `urn:audifi:problem:${code}`, title, status, detail, instance, code, request_id });
  }
}

const missing = () =>
  new Problem(401, "access_token.missing", "Missing access token", "Send `Authorization: Bearer …`.", "Bearer");
export const invalid = () =>
  new Problem(
    401,
    "access_token.invalid",
    "Invalid access token",
    "Refresh the session, then try again.",
    'Bearer error="invalid_token"',
  );
export const invalidRequest = () => new Problem(422, "request.invalid", "Invalid request");
export const tooManyRequests = () => new Problem(429, "rate_limit.exceeded", "Too many requests");
const internal = () => new Problem(500, "internal", "Internal server error");

/** The answer to an error: a problem, or 500 for what nobody expected. */
export function problemOf(error) {
  if (error instanceof Problem) return error;
  logger.error(error);
  return internal();
}

// Without fast-jwt's cache, which is off by default. jose is as common, but its WebCrypto answers through a promise and
// a thread, which for 500 bytes costs more than the hash.
const verify = createVerifier({
  key: JWT_SECRET,
  algorithms: ["HS256"],
  allowedIss: TOKEN_ISSUER,
  allowedAud: TOKEN_AUDIENCE,
  checkTyp: "at+jwt",
  clockTolerance: 5000,
  requiredClaims: ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "auth_time", "amr"],
});

/** The claims of a request's access token. */
export function readToken(authorization) {
  if (authorization === undefined || !/^bearer /i.test(authorization)) throw missing();
  try {
    return verify(authorization.slice(7));
  } catch {
    throw invalid();
  }
}

/** PostgreSQL's text of a timestamptz, in UTC, as RFC 3339. A Date would lose its microseconds. */
export const instant = (text) => text.replace(" ", "T").replace("+00", "Z");

export function cleanName(name) {
  const clean = typeof name === "string" ? name.trim() : name;
  const valid = clean === null || (typeof clean === "string" && clean.length >= 1 && clean.length <= 80);
  if (!valid) throw invalidRequest();
  return clean;
}

export const user = ({ id, email, display_name, role, created_at }) => ({
  id,
  email,
  display_name,
  role,
  created_at: instant(created_at),
});

/** A page of events; `rows` has one more than the limit if there is another page. */
export function eventPage(rows, limit) {
  const data = rows.slice(0, limit).map((row) => ({ ...row, created_at: instant(row.created_at) }));
  return { data, next_cursor: rows.length > limit ? cursor(data[limit - 1].id) : null };
}

function cursor(id) {
  const position = Buffer.from(id.replaceAll("-", ""), "hex");
  const signature = createHmac("sha256", JWT_SECRET).update(position).digest().subarray(0, 16);
  return Buffer.concat([position, signature]).toString("base64url");
}

// One new connection and SELECT 1, shared by all requests, and used for a second.
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

function databaseConnected() {
  if (probing === undefined || performance.now() - endedAt >= 1000) {
    endedAt = Infinity;
    probing = probe();
  }
  return probing;
}

export async function health() {
  const connected = await databaseConnected();
  const body = {
    status: connected ? "ok" : "degraded",
    timestamp: `${new Date().toISOString().slice(0, 19)}Z`,
    version: "0.1.0",
    dependencies: { database: connected ? "connected" : "disconnected" },
  };
  return { status: connected ? 200 : 503, body };
}
