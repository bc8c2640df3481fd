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
  refreshToken?: string | undefined;
  /** Where `delivery` is `body`: called with each new refresh token, to be kept safe; with null once it is of no more use. */
  keep?: (refreshToken: string | null) => void;
  /** Called when the session has ended, here or elsewhere: the person has to sign in again. */
  onSignedOut?: () => void;
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

/** An answer that is neither a yes nor a no: 429, 503 and the like. */
export class ApiError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(`${problem.status} ${problem.code}: ${problem.title}`);
    this.name = "ApiError";
    this.problem = problem;
  }
}

const AUTH = "/api/v1/auth";
/** Whose answers hold tokens. */
const GRANTS = new Set([`${AUTH}/magic-link/verify`, `${AUTH}/refresh`]);
/** Whose 401 says nothing about the access token. */
const WITHOUT_ACCESS = new Set([...GRANTS, `${AUTH}/magic-link/request`, `${AUTH}/logout`]);

export function createClient(options: Options): Client {
  const { baseUrl, delivery = "cookie", keep, onSignedOut, fetch = globalThis.fetch } = options;
  let accessToken: string | undefined;
  let refreshToken = options.refreshToken;
  let refreshing: Promise<boolean> | undefined;
  const again = new Map<string, Request>();

  const api = createFetchClient<paths>({
    baseUrl,
    credentials: delivery === "cookie" ? "include" : "omit",
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
    accessToken = undefined;
    refreshToken = undefined;
    if (wasSignedIn) {
      keep?.(null);
      onSignedOut?.();
    }
  }

  /** Once at a time: whoever else needs a new token waits for the same answer. */
  function refresh(): Promise<boolean> {
    refreshing ??= askForTokens().finally(() => {
      refreshing = undefined;
    });
    return refreshing;
  }

  async function askForTokens(): Promise<boolean> {
    if (delivery === "body" && refreshToken === undefined) return false;
    // The middleware takes the tokens.
    const { error, response } = await api.POST(`${AUTH}/refresh`, { body: heldToken() });
    if (response.ok) return true;
    if (response.status === 401) {
      drop();
      return false;
    }
    throw new ApiError(error as Problem);
  }

  /** An empty body still says that it is JSON, which a request with a cookie must be. */
  function heldToken(): Schemas["RefreshRequest"] {
    return delivery === "body" && refreshToken !== undefined ? { refresh_token: refreshToken } : {};
  }

  async function signOut(): Promise<void> {
    const { error, response } = await api.POST(`${AUTH}/logout`, { body: heldToken() });
    if (!response.ok) throw new ApiError(error as Problem);
  }

  const middleware: Middleware = {
    onRequest({ request, schemaPath, id }) {
      if (accessToken !== undefined && !request.headers.has("Authorization")) {
        request.headers.set("Authorization", `Bearer ${accessToken}`);
      }
      if (!WITHOUT_ACCESS.has(schemaPath)) again.set(id, request.clone());
      return request;
    },
    async onResponse({ response, schemaPath, id }) {
      const request = again.get(id);
      again.delete(id);
      if (GRANTS.has(schemaPath) && response.ok) take((await response.clone().json()) as Tokens);
      if (schemaPath === `${AUTH}/logout` && response.ok) drop();
      if (!request || !(await isAboutAccessToken(response)) || !(await refresh())) return undefined;
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

async function isAboutAccessToken(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  const { code } = (await response.clone().json()) as Problem;
  return code.startsWith("access_token.");
}
