// Express 5 with Drizzle on node-postgres: what the specification named before this server was written in Python.
import { and, eq, gt, isNull, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { inet, pgTable, text, timestamp, uuid } from "drizzle-orm/pg-core";
import express from "express";
import pg from "pg";
import { v7 as uuidv7 } from "uuid";
import * as shared from "./shared.js";

const moment = (name) => timestamp(name, { withTimezone: true, mode: "string" });
const users = pgTable("users", {
  id: uuid().primaryKey(),
  email: text(),
  emailKey: text("email_key"),
  displayName: text("display_name"),
  role: text(),
  disabledAt: moment("disabled_at"),
  deletedAt: moment("deleted_at"),
  createdAt: moment("created_at"),
});
const sessions = pgTable("sessions", {
  id: uuid().primaryKey(),
  userId: uuid("user_id"),
  authTime: moment("auth_time"),
  revokedAt: moment("revoked_at"),
  idleExpiresAt: moment("idle_expires_at"),
});
const authEvents = pgTable("auth_events", {
  id: uuid().primaryKey(),
  event: text(),
  userId: uuid("user_id"),
  sessionId: uuid("session_id"),
  detail: text(),
  ip: inet(),
  userAgent: text("user_agent"),
  createdAt: moment("created_at"),
});

const pool = new pg.Pool({ connectionString: shared.DATABASE_URL, max: shared.POOL_SIZE, options: "-c TimeZone=UTC" });
const db = drizzle(pool);

const checkedAccount = (database) =>
  database
    .select({
      id: users.id,
      email: users.email,
      emailKey: users.emailKey,
      displayName: users.displayName,
      role: users.role,
      createdAt: users.createdAt,
      sessionId: sessions.id,
      authTime: sessions.authTime,
    })
    .from(users)
    .innerJoin(sessions, eq(sessions.userId, users.id))
    .where(
      and(
        eq(sessions.id, sql.placeholder("session")),
        eq(users.id, sql.placeholder("user")),
        isNull(sessions.revokedAt),
        gt(sessions.idleExpiresAt, sql.placeholder("now")),
        isNull(users.disabledAt),
        isNull(users.deletedAt),
      ),
    )
    .prepare("checked_account");

const changed = (database, displayName) =>
  database
    .update(users)
    .set({ displayName })
    .where(and(eq(users.id, sql.placeholder("user")), isNull(users.deletedAt), isNull(users.disabledAt)))
    .returning({ id: users.id })
    .prepare("changed");

const recorded = (database, row) => database.insert(authEvents).values(row).prepare("recorded");

// A transaction's statements belong to its connection, so Drizzle has to build them anew; a read's are built once.
const checkedAccountOfAny = checkedAccount(db);

async function accountOf(claims, statement) {
  const [account] = await statement.execute({ session: claims.sid, user: claims.sub, now: new Date().toISOString() });
  if (!account) throw shared.refused();
  return account;
}

const told = ({ id, email, displayName, role, createdAt }) => ({
  id,
  email,
  display_name: displayName,
  role,
  created_at: shared.instant(createdAt),
});

const app = express();
app.disable("x-powered-by");
app.disable("etag");

app.get("/api/v1/health", async (_, response) => {
  const connected = await shared.databaseConnected();
  response.set("Cache-Control", "no-store");
  response.status(connected ? 200 : 503).json(shared.health(connected));
});

app.get("/api/v1/auth/me", async (request, response) => {
  const account = await accountOf(shared.claims(request.headers.authorization), checkedAccountOfAny);
  response.set("Cache-Control", "no-store").json(told(account));
});

app.patch("/api/v1/auth/me", express.json(), async (request, response) => {
  const claims = shared.claims(request.headers.authorization);
  const displayName = shared.clean(request.body?.display_name);
  const account = await db.transaction(async (transaction) => {
    const found = await accountOf(claims, checkedAccount(transaction));
    const [row] = await changed(transaction, displayName).execute({ user: found.id });
    if (!row) throw shared.refused();
    await recorded(transaction, {
      id: uuidv7(),
      event: "user.updated",
      userId: found.id,
      sessionId: null,
      detail: "display_name",
      ip: request.socket.remoteAddress,
      userAgent: request.headers["user-agent"] ?? null,
      createdAt: new Date().toISOString(),
    }).execute();
    return { ...found, displayName };
  });
  response.set("Cache-Control", "no-store").json(told(account));
});

app.use((error, request, response, _) => {
  const problem = error.told ?? { status: 500, code: "internal", title: "Something went wrong here" };
  if (!error.told) console.error(error);
  if (problem.challenge) response.set("WWW-Authenticate", problem.challenge);
  response.status(problem.status).set("Cache-Control", "no-store").type("application/problem+json");
  response.send(shared.problemBody(problem, request.path));
});

app.listen(shared.PORT, shared.HOST);
