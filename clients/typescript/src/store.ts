/** Where clients keep what lets them resume a session, and how those on one store take turns. */

/** Keeps a refresh token. Several clients may share one: the tabs of a page, or an app and its extension. */
export interface Store {
  /** The token that was written last, by this client or another; null if there is none. */
  read(): string | null | Promise<string | null>;
  write(token: string | null): void | Promise<void>;
  /** Call `onChange` when another tab has written. */
  watch?(onChange: () => void): void;
}

export function memoryStore(token: string | null = null): Store {
  return { read: () => token, write: (next) => void (token = next) };
}

/** `localStorage`: every tab of the origin shares it, and every script of its pages can read it. Prefer the cookie. */
export function localStore(key: string): Store {
  return {
    read: () => localStorage.getItem(key),
    write: (token) => (token === null ? localStorage.removeItem(key) : localStorage.setItem(key, token)),
    watch: (onChange) =>
      globalThis.addEventListener?.("storage", (event) => {
        if (event.key === key || event.key === null) onChange();
      }),
  };
}

/**
 * The id of the session whose refresh token is in the cookie, which scripts can't see. The id is no secret. Without it, a
 * page knows that nobody is signed in, and needn't ask the API, whose 401 browsers show as an error.
 */
export function cookieHint(baseUrl: string, isUnusable: boolean): Store {
  const store = localStore(`audifi.session ${baseUrl}`);
  const UNKNOWN = "unknown"; // ask the API
  return {
    ...store,
    read() {
      try {
        return isUnusable ? UNKNOWN : store.read();
      } catch {
        return UNKNOWN;
      }
    },
    write(sessionId) {
      try {
        void store.write(sessionId);
      } catch {
        isUnusable = true; // blocked or full
      }
    },
  };
}

export type Exclusively = <T>(run: () => Promise<T>) => Promise<T>;

/** One at a time: across an origin's tabs and workers by a Web Lock, elsewhere in this client. */
export function lock(name: string): Exclusively {
  if ("location" in globalThis && globalThis.navigator?.locks) {
    return async (run) => navigator.locks.request(name, run);
  }
  let last: Promise<unknown> = Promise.resolve();
  return (run) => {
    const next = last.then(run, run);
    last = next;
    return next;
  };
}
