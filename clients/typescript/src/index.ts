/**
 * The AudiFi API. All paths, bodies and answers have the types of its contract (`schema.ts` is generated from it); on top of
 * that, a client keeps its access token, gets the next one when it has expired, and tries again.
 *
 *     const api = createClient({ baseUrl: "https://audifi-api.fly.dev" });
 *     await api.POST("/api/v1/auth/magic-link/verify", { body: { flow_id, code } });
 *     const { data, error } = await api.GET("/api/v1/auth/me");
 */
import createFetchClient, { type Client as FetchClient, type Middleware } from "openapi-fetch";

import { ApiError, asProblem, isAboutAccessToken, problemResponse } from "./problems.ts";
import { retrying, type Fetch } from "./retry.ts";
import type { components, paths } from "./schema.ts";
import { createSession, type AuthState, type Session, type Tokens } from "./session.ts";
import { cookieHint, lock, memoryStore, type Store } from "./store.ts";

export { ApiError, dataOf, type Problem } from "./problems.ts";
export type { components, operations, paths } from "./schema.ts";
export type { AuthState, Tokens } from "./session.ts";
export { localStore, memoryStore, type Store } from "./store.ts";

export type Schemas = components["schemas"];

export interface Options {
  /** Scheme, host and port; no path. */
  baseUrl: string;
  /**
   * Where the refresh token is kept. `cookie`: by the browser, which shows it to no script; for pages whose origin the API
   * allows, on its site. `body`: in `store`; for everything else.
   */
  delivery?: "cookie" | "body";
  /** Where `delivery` is `body`: keeps the refresh token from one run to the next. Without one, it is in memory. */
  store?: Store;
  /**
   * Where `delivery` is `cookie`: whether `resume` asks the API even if nobody has signed in on a page of this origin; for
   * pages that share a session with another origin. Otherwise localStorage says so, and no 401 shows in the console.
   */
  alwaysAsk?: boolean;
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
  fetch?: Fetch;
}

export interface Client extends FetchClient<paths>, Pick<Session, "authState" | "subscribe"> {
  /**
   * Get an access token from what is kept of a session: at the start of a page or an app.
   *
   * @returns whether somebody is signed in.
   * @throws if the API can't be reached, what `fetch` throws; {@link ApiError} if it can't tell. Neither ends the session.
   */
  resume(): Promise<boolean>;
  /**
   * An access token for at least the next minute, to be sent by other means than this client; null if nobody is signed in.
   *
   * @throws like {@link resume}.
   */
  accessToken(): Promise<string | null>;
  /**
   * End the session, here and at the API.
   *
   * @throws like {@link resume}; the session then lives on, and so does what is kept of it.
   */
  signOut(): Promise<void>;
}

const AUTH = "/api/v1/auth";
const VERIFY = `${AUTH}/magic-link/verify`;
const REFRESH = `${AUTH}/refresh`;
const LOGOUT = `${AUTH}/logout`;
/** Whose 401 says nothing about the access token. */
const WITHOUT_ACCESS = new Set([VERIFY, REFRESH, `${AUTH}/magic-link/request`, LOGOUT]);
const REPEATABLE = new Set([REFRESH, LOGOUT]);
/** Other tabs wait meanwhile. */
const REFRESH_TIMEOUT_MS = 30_000;

export function createClient(options: Options): Client {
  const { baseUrl, delivery = "cookie", alwaysAsk = false, onSignedOut } = options;
  const byCookie = delivery === "cookie";
  const store = byCookie ? cookieHint(baseUrl, alwaysAsk) : (options.store ?? memoryStore());
  const exclusively = lock(`audifi.session ${baseUrl}`);
  const api = createFetchClient<paths>({
    baseUrl,
    credentials: byCookie ? "include" : "omit",
    ...(options.caller ? { headers: callerHeaders(options.caller) } : {}),
    fetch: retrying(options.fetch ?? ((request) => fetch(request)), REPEATABLE),
  });
  const session = createSession({
    store,
    exclusively,
    kept: (tokens) => (byCookie ? tokens.session.id : (tokens.refresh_token ?? null)),
    exchange: async (kept) => {
      const signal = AbortSignal.timeout?.(REFRESH_TIMEOUT_MS) ?? null; // React Native has none
      const { data, response, error } = await api.POST(REFRESH, { body: bodyOf(kept), signal });
      if (data) return data;
      const problem = asProblem(error, response);
      if (!problem.code.startsWith("refresh_token.")) throw new ApiError(problem);
      return null;
    },
  });

  /** An empty body still says that it is JSON, which a request with a cookie must be. */
  function bodyOf(kept: string | null): Schemas["RefreshRequest"] {
    return byCookie || kept === null ? {} : { refresh_token: kept };
  }

  /** After a refresh that has begun, whose answer would set the cookie anew. */
  function signOut(): Promise<void> {
    return exclusively(async () => {
      const { error, response } = await api.POST(LOGOUT, { body: bodyOf(await store.read()) });
      if (!response.ok) throw new ApiError(asProblem(error, response));
    });
  }

  api.use(authentication(session));
  if (onSignedOut) notifySignOut(session, onSignedOut);
  const { authState, subscribe, freshAccessToken: accessToken, refresh: resume } = session;
  return Object.assign(api, { authState, subscribe, accessToken, resume, signOut });
}

function notifySignOut({ authState, subscribe }: Session, onSignedOut: () => void): void {
  let before: AuthState = authState();
  subscribe(() => {
    const wasSignedIn = before.status === "signed_in";
    before = authState();
    if (wasSignedIn && before.status === "signed_out") onSignedOut();
  });
}

/** Adds the access token; gets a new one and repeats the request when the API refuses it. */
function authentication(session: Session): Middleware {
  /** Requests that may be sent again, by openapi-fetch's id. */
  const again = new Map<string, Request>();
  return {
    onRequest({ request, schemaPath, id }) {
      if (request.headers.has("Authorization")) return request; // the caller's own
      const accessToken = session.accessToken();
      if (accessToken !== undefined) request.headers.set("Authorization", `Bearer ${accessToken}`);
      if (!WITHOUT_ACCESS.has(schemaPath)) again.set(id, request.clone());
      return request;
    },
    async onResponse({ request: sent, response, schemaPath, id, options: { fetch } }) {
      const request = again.get(id);
      again.delete(id);
      if (response.ok) {
        if (schemaPath === VERIFY) await session.start((await response.clone().json()) as Tokens);
        if (schemaPath === LOGOUT || (schemaPath === `${AUTH}/me` && sent.method === "DELETE")) await session.end();
        return undefined;
      }
      if (!request || !(await isAboutAccessToken(response))) return undefined;
      try {
        const accessToken = session.accessToken();
        const isStale = request.headers.get("Authorization") !== (accessToken ? `Bearer ${accessToken}` : null);
        if (!isStale && !(await session.refresh())) return undefined;
      } catch (error) {
        if (error instanceof ApiError) return problemResponse(error.problem);
        throw error;
      }
      request.headers.set("Authorization", `Bearer ${session.accessToken()}`);
      return fetch(request);
    },
    onError({ id }) {
      again.delete(id);
    },
  };
}

function callerHeaders({ secret, clientIp }: NonNullable<Options["caller"]>): Record<string, string> {
  return { "AudiFi-Caller-Secret": secret, "AudiFi-Client-IP": clientIp };
}
