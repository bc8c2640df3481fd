/**
 * The AudiFi API. All paths, bodies and answers have the types of its contract (`schema.ts` is generated from it); on top of
 * that, a client keeps its access token, gets the next one when it has expired, and tries again.
 *
 *     const api = createClient({ baseUrl: "https://audifi-api.fly.dev" });
 *     await api.POST("/api/v1/auth/magic-link/verify", { body: { flow_id, code } });
 *     const { data, error } = await api.GET("/api/v1/auth/me");
 */
import createFetchClient, { type Client as FetchClient, type Middleware } from "openapi-fetch";

import type { components, paths } from "./schema.ts";

export type { components, operations, paths } from "./schema.ts";

export type Schemas = components["schemas"];
/** RFC 9457. Decide by `code`. */
export type Problem = Schemas["ProblemDetails"];
export type Tokens = Schemas["Tokens"];

export interface Options {
  /** Scheme, host and port; no path. */
  baseUrl: string;
  /**
   * Where the refresh token is kept. `cookie`: by the browser, which shows it to no script; for pages whose origin the API
   * allows, on its site. `body`: by `keep`; for everything else.
   */
  delivery?: "cookie" | "body";
  /** Where `delivery` is `body`: the refresh token of an earlier run, if there is one. */
  refreshToken?: string | null | undefined;
  /** Where `delivery` is `body`: called with each new refresh token, to be kept safe; with null once it is of no more use. */
  keep?: (refreshToken: string | null) => void;
  /**
   * Called once when the session that this client knew has ended, here or elsewhere: the person has to sign in again. A
   * `resume` that finds none says so by its answer alone.
   */
  onSignedOut?: () => void;
  /**
   * For a server that calls for a person: its secret of the API's TRUSTED_CALLERS, and the person's address as the server's own
   * proxy tells it, by which the API then limits and records. Make a client for each person. Never in a browser or an app.
   */
  caller?: { secret: string; clientIp: string };
  fetch?: (request: Request) => Promise<Response>;
}

export interface Client extends FetchClient<paths> {
  /**
   * Get an access token from what is kept of a session: at the start of a page or an app.
   *
   * @returns whether somebody is signed in.
   * @throws {TypeError} if the API can't be reached; {@link ApiError} if it can't tell. Neither ends the session.
   */
  resume(): Promise<boolean>;
  /**
   * End the session, here and at the API.
   *
   * @throws like {@link resume}; the session then lives on, and so does what is kept of it.
   */
  signOut(): Promise<void>;
}

/** An answer that is neither a yes nor a no: 429, 503 and the like. `code` is `unknown` if it wasn't the API that answered. */
export class ApiError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(`${problem.status} ${problem.code}: ${problem.title}`);
    this.name = "ApiError";
    this.problem = problem;
  }
}

const AUTH = "/api/v1/auth";
const VERIFY = `${AUTH}/magic-link/verify`;
/** Whose 401 says nothing about the access token. */
const WITHOUT_ACCESS = new Set([VERIFY, `${AUTH}/refresh`, `${AUTH}/magic-link/request`, `${AUTH}/logout`]);

export function createClient(options: Options): Client {
  const { baseUrl, delivery = "cookie", keep, onSignedOut } = options;
  let accessToken: string | undefined;
  let refreshToken = options.refreshToken ?? undefined;
  /** Counts sign-ins and sign-outs: what a refresh that began before the last one answers is about another session. */
  let epoch = 0;
  let refreshing: Promise<boolean> | undefined;
  /** Requests that may be sent again, by openapi-fetch's id. */
  const again = new Map<string, Request>();

  const api = createFetchClient<paths>({
    baseUrl,
    credentials: delivery === "cookie" ? "include" : "omit",
    ...(options.caller ? { headers: callerHeaders(options.caller) } : {}),
    ...(options.fetch ? { fetch: options.fetch } : {}),
  });

  function take(tokens: Tokens): void {
    accessToken = tokens.access_token;
    if (tokens.refresh_token) {
      refreshToken = tokens.refresh_token;
      keep?.(refreshToken);
    }
  }

  function drop(): void {
    const wasSignedIn = accessToken !== undefined || refreshToken !== undefined;
    epoch++;
    refreshing = undefined;
    accessToken = undefined;
    refreshToken = undefined;
    if (wasSignedIn) {
      keep?.(null);
      onSignedOut?.();
    }
  }

  /** Once at a time: whoever else needs a new token waits for the same answer. */
  function refresh(): Promise<boolean> {
    if (!refreshing) {
      const asking = askForTokens().finally(() => {
        if (refreshing === asking) refreshing = undefined;
      });
      refreshing = asking;
    }
    return refreshing;
  }

  async function askForTokens(): Promise<boolean> {
    if (delivery === "body" && refreshToken === undefined) return false;
    const began = epoch;
    const { data, response, error } = await api.POST(`${AUTH}/refresh`, { body: heldToken() });
    if (began !== epoch) return accessToken !== undefined;
    if (data) {
      take(data);
      return true;
    }
    const problem = asProblem(error, response);
    if (!problem.code.startsWith("refresh_token.")) throw new ApiError(problem);
    drop();
    return false;
  }

  /** An empty body still says that it is JSON, which a request with a cookie must be. */
  function heldToken(): Schemas["RefreshRequest"] {
    return delivery === "body" && refreshToken !== undefined ? { refresh_token: refreshToken } : {};
  }

  async function signOut(): Promise<void> {
    await refreshing?.catch(() => undefined); // its answer would set the cookie anew
    const { error, response } = await api.POST(`${AUTH}/logout`, { body: heldToken() });
    if (!response.ok) throw new ApiError(asProblem(error, response));
  }

  const middleware: Middleware = {
    onRequest({ request, schemaPath, id }) {
      if (request.headers.has("Authorization")) return request; // the caller's own
      if (accessToken !== undefined) request.headers.set("Authorization", `Bearer ${accessToken}`);
      if (!WITHOUT_ACCESS.has(schemaPath)) again.set(id, request.clone());
      return request;
    },
    async onResponse({ request: sent, response, schemaPath, id, options: { fetch } }) {
      const request = again.get(id);
      again.delete(id);
      if (response.ok) {
        if (schemaPath === VERIFY) {
          epoch++;
          take((await response.clone().json()) as Tokens);
        }
        if (schemaPath === `${AUTH}/logout` || (schemaPath === `${AUTH}/me` && sent.method === "DELETE")) drop();
        return undefined;
      }
      if (!request || !(await isAboutAccessToken(response))) return undefined;
      try {
        const isStale = request.headers.get("Authorization") !== (accessToken ? `Bearer ${accessToken}` : null);
        if (!isStale && !(await refresh())) return undefined;
      } catch (error) {
        if (error instanceof ApiError) return problemResponse(error.problem);
        throw error;
      }
      request.headers.set("Authorization", `Bearer ${accessToken}`);
      return fetch(request);
    },
    onError({ id }) {
      again.delete(id);
    },
  };
  api.use(middleware);
  return Object.assign(api, { resume: refresh, signOut });
}

function callerHeaders({ secret, clientIp }: NonNullable<Options["caller"]>): Record<string, string> {
  return { "AudiFi-Caller-Secret": secret, "AudiFi-Client-IP": clientIp };
}

async function isAboutAccessToken(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => undefined);
  return asProblem(body, response).code.startsWith("access_token.");
}

/** What answered may be something between here and the API, which knows no problems. */
function asProblem(body: unknown, { status, statusText }: Response): Problem {
  if (typeof body === "object" && body !== null && "code" in body && typeof body.code === "string") return body as Problem;
  return { type: "about:blank", title: statusText || `Status ${status}`, status, instance: "", code: "unknown", request_id: "" };
}

function problemResponse(problem: Problem): Response {
  return new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: { "Content-Type": "application/problem+json" },
  });
}
