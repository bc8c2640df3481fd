// Fastify 5 on postgres.js, with what a service in production carries.
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import fastify, { LogController } from "fastify";
import metrics from "fastify-metrics";
import postgres from "postgres";
import { v7 as uuidv7 } from "uuid";
import * as common from "./common.js";

const TIMESTAMPTZ = 1184;
const sql = postgres(common.DATABASE_URL, {
  max: common.POOL_SIZE,
  connection: { TimeZone: "UTC" },
  types: { date: { to: TIMESTAMPTZ, from: [TIMESTAMPTZ], serialize: (value) => value, parse: (value) => value } },
});

function run(name, values, connection = sql) {
  const statement = common.statement(name, values);
  return connection.unsafe(statement.text, statement.values, { prepare: true });
}

async function findUser(claims, connection) {
  const values = { session_id: claims.sid, user_id: claims.sub, now: new Date().toISOString() };
  const [user] = await run("find_user", values, connection);
  if (!user) throw common.invalid();
  return user;
}

const string = { type: "string" };
const nullable = { type: ["string", "null"] };
const object = (properties) => ({ type: "object", properties });
const HEALTH = object({ status: string, timestamp: string, version: string, dependencies: object({ database: string }) });
const USER = object({ id: string, email: string, display_name: nullable, role: string, created_at: string });
const EVENT = object({
  id: string,
  event: string,
  created_at: string,
  session_id: nullable,
  detail: nullable,
  user_agent: nullable,
  ip_prefix: nullable,
});
const EVENT_PAGE = object({ data: { type: "array", items: EVENT }, next_cursor: nullable });
const LIMIT = { type: "integer", minimum: 1, maximum: 100, default: 20 };

const app = fastify({
  loggerInstance: common.logger,
  logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: "request_id" }),
  genReqId: common.requestId,
  bodyLimit: 65536,
});
app.decorateRequest("claims", null);

app.addHook("onRequest", async (request, reply) => {
  reply.header("x-request-id", request.id).header("cache-control", "no-store");
});
app.addHook("onResponse", async (request, reply) => {
  const route = request.routeOptions.url ?? "unmatched";
  if (route === common.HEALTH_PATH && reply.statusCode < 400) return;
  request.log.info(
    {
      method: request.method,
      route,
      status: reply.statusCode,
      duration_ms: Math.round(reply.elapsedTime * 100) / 100,
      user_id: request.claims?.sub,
    },
    `${request.method} ${route} ${reply.statusCode}`,
  );
});
app.setErrorHandler((error, request, reply) => {
  const problem = error.validation ? common.invalidRequest() : common.problemOf(error);
  if (problem.challenge) reply.header("www-authenticate", problem.challenge);
  return reply.code(problem.status).type("application/problem+json").send(problem.body(request.url, request.id));
});

await app.register(metrics, {
  endpoint: { url: "/metrics", config: { rateLimit: false } },
  routeMetrics: { enabled: { histogram: true, summary: false }, overrides: { histogram: { buckets: common.BUCKETS } } },
});
await app.register(helmet, common.HELMET);
await app.register(cors, common.CORS);
await app.register(rateLimit, {
  max: common.LIMIT,
  timeWindow: "1 minute",
  enableDraftSpec: true,
  errorResponseBuilder: common.tooManyRequests,
});

const countUser = app.createRateLimit({ keyGenerator: (request) => `user ${request.claims.sub}` });
async function signedIn(request) {
  request.claims = common.readToken(request.headers.authorization);
  const { isExceeded } = await countUser(request);
  if (isExceeded) throw common.tooManyRequests();
}

app.get(
  common.HEALTH_PATH,
  { schema: { response: { "2xx": HEALTH, "5xx": HEALTH } }, config: { rateLimit: false } },
  async (_, reply) => {
    const { status, body } = await common.health();
    return reply.code(status).send(body);
  },
);

app.get("/api/v1/auth/me", { preValidation: signedIn, schema: { response: { 200: USER } } }, async (request) =>
  common.user(await findUser(request.claims)),
);

app.get(
  "/api/v1/auth/me/activity",
  { preValidation: signedIn, schema: { querystring: object({ limit: LIMIT }), response: { 200: EVENT_PAGE } } },
  async (request) => {
    const { limit } = request.query;
    const values = { user_id: request.claims.sub, before: common.FIRST_CURSOR, limit: limit + 1 };
    return common.eventPage(await run("list_events", values), limit);
  },
);

app.patch(
  "/api/v1/auth/me",
  { preValidation: signedIn, schema: { body: object({ display_name: nullable }), response: { 200: USER } } },
  async (request) => {
    const display_name = common.cleanName(request.body.display_name);
    const user = await sql.begin(async (connection) => {
      const user = await findUser(request.claims, connection);
      const [renamed] = await run("rename_user", { user_id: user.id, display_name }, connection);
      if (!renamed) throw common.invalid();
      const event = {
        id: uuidv7(),
        user_id: user.id,
        ip: request.ip,
        user_agent: request.headers["user-agent"] ?? null,
        now: new Date().toISOString(),
      };
      await run("insert_event", event, connection);
      return { ...user, display_name };
    });
    return common.user(user);
  },
);

await app.listen({ port: common.PORT, host: common.HOST });
