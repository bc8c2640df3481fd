// Express 5 on node-postgres, with what a service in production carries.
import cors from "cors";
import express from "express";
import helmet from "helmet";
import pg from "pg";
import { pinoHttp } from "pino-http";
import prometheus from "prom-client";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { v7 as uuidv7 } from "uuid";
import * as common from "./common.js";

const TIMESTAMPTZ = 1184;
pg.types.setTypeParser(TIMESTAMPTZ, (text) => text);
const pool = new pg.Pool({ connectionString: common.DATABASE_URL, max: common.POOL_SIZE, options: "-c TimeZone=UTC" });

const routeOf = (request) => request.route?.path ?? "unmatched";

const logRequests = pinoHttp({
  logger: common.logger,
  genReqId(_, response) {
    const id = common.requestId();
    response.setHeader("X-Request-ID", id);
    return id;
  },
  autoLogging: { ignore: (request) => request.url === common.HEALTH_PATH },
  quietReqLogger: true,
  quietResLogger: true,
  serializers: { req: () => undefined },
  customAttributeKeys: { reqId: "request_id" },
  customSuccessObject: (request, response, { responseTime }) => ({
    method: request.method,
    route: routeOf(request),
    status: response.statusCode,
    duration_ms: responseTime,
    user_id: request.userId,
  }),
  customSuccessMessage: (request, response) => `${request.method} ${routeOf(request)} ${response.statusCode}`,
});

prometheus.collectDefaultMetrics();
const durations = new prometheus.Histogram({
  name: "http_request_duration_seconds",
  help: "Duration of requests.",
  labelNames: ["method", "route", "status_code"],
  buckets: common.BUCKETS,
});
function measure(request, response, next) {
  const began = performance.now();
  response.on("finish", () => {
    const labels = { method: request.method, route: routeOf(request), status_code: response.statusCode };
    durations.observe(labels, (performance.now() - began) / 1000);
  });
  next();
}

const perClient = new RateLimiterMemory({ keyPrefix: "client", points: common.LIMIT, duration: 60 });
const perUser = new RateLimiterMemory({ keyPrefix: "user", points: common.LIMIT, duration: 60 });
async function count(limiter, key, response) {
  let result;
  try {
    result = await limiter.consume(key);
  } catch {
    throw common.tooManyRequests();
  }
  response.set({
    "RateLimit-Limit": common.LIMIT,
    "RateLimit-Remaining": result.remainingPoints,
    "RateLimit-Reset": Math.ceil(result.msBeforeNext / 1000),
  });
}
async function limitClient(request, response, next) {
  await count(perClient, request.ip, response);
  next();
}
async function signedIn(request, response, next) {
  request.claims = common.readToken(request.headers.authorization);
  request.userId = request.claims.sub;
  await count(perUser, request.userId, response);
  next();
}

function noStore(_, response, next) {
  response.set("Cache-Control", "no-store");
  next();
}

async function transaction(act) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const result = await act(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

async function findUser(claims, client) {
  const values = { session_id: claims.sid, user_id: claims.sub, now: new Date().toISOString() };
  const { rows } = await client.query(common.statement("find_user", values));
  if (rows.length === 0) throw common.invalid();
  return rows[0];
}

const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.use(logRequests, measure, helmet(common.HELMET), cors(common.CORS), noStore);

app.get("/metrics", async (_, response) => {
  response.type(prometheus.register.contentType).send(await prometheus.register.metrics());
});

app.get(common.HEALTH_PATH, async (_, response) => {
  const { status, body } = await common.health();
  response.status(status).json(body);
});

app.use("/api/v1/auth", limitClient);

app.get("/api/v1/auth/me", signedIn, async (request, response) => {
  response.json(common.user(await findUser(request.claims, pool)));
});

app.get("/api/v1/auth/me/activity", signedIn, async (request, response) => {
  const limit = Number(request.query.limit ?? 20);
  if (!Number.isInteger(limit) || limit < 1 || limit > 100) throw common.invalidRequest();
  const values = { user_id: request.claims.sub, before: common.FIRST_CURSOR, limit: limit + 1 };
  const { rows } = await pool.query(common.statement("list_events", values));
  response.json(common.eventPage(rows, limit));
});

app.patch("/api/v1/auth/me", signedIn, express.json({ limit: "64kb" }), async (request, response) => {
  const display_name = common.cleanName(request.body?.display_name);
  const user = await transaction(async (client) => {
    const user = await findUser(request.claims, client);
    const renamed = await client.query(common.statement("rename_user", { user_id: user.id, display_name }));
    if (renamed.rows.length === 0) throw common.invalid();
    const event = {
      id: uuidv7(),
      user_id: user.id,
      ip: request.ip,
      user_agent: request.get("user-agent") ?? null,
      now: new Date().toISOString(),
    };
    await client.query(common.statement("insert_event", event));
    return { ...user, display_name };
  });
  response.json(common.user(user));
});

app.use((error, request, response, _) => {
  const problem = common.problemOf(error);
  if (problem.challenge) response.set("WWW-Authenticate", problem.challenge);
  response.status(problem.status).type("application/problem+json");
  response.send(problem.body(request.originalUrl, request.id));
});

app.listen(common.PORT, common.HOST);
