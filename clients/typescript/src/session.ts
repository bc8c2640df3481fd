/** The session of a client: its tokens, and whether somebody is signed in. */
import type { components } from "./schema.ts";
import type { Exclusively, Store } from "./store.ts";

export type Tokens = components["schemas"]["Tokens"];

/** `unknown` until the client has resumed, or has got an answer that says it. Another session may be another account's. */
export interface AuthState {
  readonly status: "unknown" | "signed_in" | "signed_out";
  readonly sessionId: string | null;
}

/** How much longer than now an access token is good that is handed out. */
const MARGIN_MS = 60_000;

export interface SessionOptions {
  store: Store;
  exclusively: Exclusively;
  /** What of the tokens goes into the store; null for nothing. */
  kept(tokens: Tokens): string | null;
  /** Exchange what is kept for new tokens; null if the session has ended. Throws what is neither a yes nor a no. */
  exchange(kept: string): Promise<Tokens | null>;
}

export interface Session {
  accessToken(): string | undefined;
  /** An access token for a minute at least; null if nobody is signed in. */
  freshAccessToken(): Promise<string | null>;
  authState(): AuthState;
  /** Call a function after each change of `authState`, until the returned one is called. */
  subscribe(listener: () => void): () => void;
  start(tokens: Tokens): Promise<void>;
  end(): Promise<void>;
  /** Once at a time: whoever else needs a new token waits for the same answer. */
  refresh(): Promise<boolean>;
}

export function createSession({ store, exclusively, kept, exchange }: SessionOptions): Session {
  let accessToken: string | undefined;
  let expiresAt = 0;
  let state: AuthState = { status: "unknown", sessionId: null };
  /** Counts sign-ins and sign-outs: what a refresh that began before the last one answers is about another session. */
  let epoch = 0;
  let refreshing: Promise<boolean> | undefined;
  const listeners = new Set<() => void>();

  function become(status: AuthState["status"], sessionId: string | null): void {
    if (status === state.status && sessionId === state.sessionId) return;
    state = { status, sessionId };
    for (const listener of listeners) listener();
  }

  async function take(tokens: Tokens): Promise<void> {
    accessToken = tokens.access_token;
    expiresAt = Date.now() + 1000 * tokens.expires_in;
    become("signed_in", tokens.session.id);
    await store.write(kept(tokens));
  }

  function forget(): void {
    epoch++;
    refreshing = undefined;
    accessToken = undefined;
    become("signed_out", null);
  }

  function refresh(): Promise<boolean> {
    if (!refreshing) {
      const asking = exclusively(askForTokens).finally(() => {
        if (refreshing === asking) refreshing = undefined;
      });
      refreshing = asking;
    }
    return refreshing;
  }

  async function askForTokens(): Promise<boolean> {
    const began = epoch;
    for (let isSecond = false; ; isSecond = true) {
      const before = await store.read();
      if (before === null) {
        forget();
        return false;
      }
      const tokens = await exchange(before);
      const after = await store.read();
      if (began !== epoch) return state.status === "signed_in";
      // Another tab has signed in or out meanwhile, or has refreshed where there is no lock.
      const hasChanged = after !== before && after !== (tokens && kept(tokens));
      if (hasChanged && !isSecond) continue;
      if (tokens) {
        await take(tokens);
        return true;
      }
      if (!hasChanged) await store.write(null);
      forget();
      return false;
    }
  }

  store.watch?.(() => void follow());

  /** Do as the tab did that has written. */
  async function follow(): Promise<void> {
    if ((await store.read()) === null) forget();
    else if (state.status === "signed_out") await refresh().catch(() => undefined);
  }

  return {
    accessToken: () => accessToken,
    async freshAccessToken() {
      if (accessToken === undefined || Date.now() > expiresAt - MARGIN_MS) await refresh();
      return accessToken ?? null;
    },
    authState: () => state,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async start(tokens) {
      epoch++;
      await take(tokens);
    },
    async end() {
      await store.write(null);
      forget();
    },
    refresh,
  };
}
