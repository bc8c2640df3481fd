// Fastify with postgres.js: what Node's people take when it should be fast.
import fastify from "fastify";
import postgres from "postgres";
import { v7 as uuidv7 } from "uuid";
import * as shared from "./shared.js";

const sql = postgres(shared.DATABASE_URL, {
  max: shared.POOL_SIZE,
  connection: { TimeZone: "UTC" },
  types: { date: { to: 1184, from: [1184], serialize: (value) => value, parse: (value) => value } },
});

const checkedAccount = (database, { sid, sub }) => database`
  SELECT users.id, users.email, users.email_key, users.display_name, users.role, users.created_at,
         sessions.id AS session_id, sessions.auth_time
  FROM users JOIN sessions ON sessions.user_id = users.id
  WHERE sessions.id = ${sid} AND users.id = ${sub}
    AND sessions.revoked_at IS NULL AND sessions.idle_expires_at > ${new Date().toISOString()}
    AND users.disabled_at IS NULL AND users.deleted_at IS NULL`;

async function accountOf(claims, database) {
  const [account] = await checkedAccount(database, claims);
  if (!account) throw shared.refused();
  return { ...account, created_at: shared.instant(account.created_at) };
}

// Fastify makes functions of these, which write JSON faster than JSON.stringify.
const string = { type: "string" };
const object = (properties) => ({ type: "object", properties });
const HEALTH = object({ status: string, timestamp: string, version: string, dependencies: object({ database: string }) });
const USER = object({
  id: string,
  email: string,
  display_name: { type: ["string", "null"] },
  role: string,
  created_at: string,
});

const app = fastify({ logger: false });

app.get("/api/v1/health", { schema: { response: { "2xx": HEALTH, "5xx": HEALTH } } }, async (_, reply) => {
  const connected = await shared.databaseConnected();
  return reply
    .code(connected ? 200 : 503)
    .header("cache-control", "no-store")
    .send(shared.health(connected));
});

app.get("/api/v1/auth/me", { schema: { response: { 200: USER } } }, async (request, reply) => {
  const account = await accountOf(shared.claims(request.headers.authorization), sql);
  return reply.header("cache-control", "no-store").send(account);
});

app.patch("/api/v1/auth/me", { schema: { response: { 200: USER } } }, async (request, reply) => {
  const claims = shared.claims(request.headers.authorization);
  const displayName = shared.clean(request.body?.display_name);
  const account = await sql.begin(async (transaction) => {
    const found = await accountOf(claims, transaction);
    const [row] = await transaction`
      UPDATE users SET display_name = ${displayName}
      WHERE id = ${found.id} AND deleted_at IS NULL AND disabled_at IS NULL RETURNING id`;
    if (!row) throw shared.refused();
    await transaction`
      INSERT INTO auth_events (id, event, user_id, session_id, detail, ip, user_agent, created_at)
      VALUES (${uuidv7()}, 'user.updated', ${found.id}, NULL, 'display_name', ${request.ip},
              ${request.headers["user-agent"] ?? null}, ${new Date().toISOString()})`;
    return { ...found, display_name: displayName };
  });
  return reply.header("cache-control", "no-store").send(account);
});

app.setErrorHandler((error, request, reply) => {
  const problem = error.told ?? { status: 500, code: "internal", title: "Something went wrong here" };
  if (!error.told) console.error(error);
  if (problem.challenge) reply.header("www-authenticate", problem.challenge);
  return reply
    .code(problem.status)
    .header("cache-control", "no-store")
    .type("application/problem+json")
    .send(shared.problemBody(problem, request.url));
});

await app.listen({ port: shared.PORT, host: shared.HOST });
