/** Repeats requests that the API has no room for just now. */
export type Fetch = (request: Request) => Promise<Response>;

/** RFC 9110, 9.2.2. */
const IDEMPOTENT_METHODS = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);
const BUSY = new Set([429, 503]);
const TRIES = 3;
const MAX_WAIT_MS = 10_000;
const JITTER_MS = 500;

/**
 * Send a request up to three times while the answer is 503 or 429. Wait as long as `Retry-After` says, and a random time
 * more, which doubles; if that is above 10 s, the answer is the caller's.
 *
 * Only what can't take effect twice is repeated: idempotent methods, requests with an `Idempotency-Key`, and
 * `repeatable` paths.
 */
export function retrying(send: Fetch, repeatable: ReadonlySet<string>): Fetch {
  const isSafe = ({ method, headers, url }: Request) =>
    IDEMPOTENT_METHODS.has(method) || headers.has("Idempotency-Key") || repeatable.has(new URL(url).pathname);
  return async (request) => {
    if (!isSafe(request)) return send(request);
    for (let attempt = 1; ; attempt++) {
      const response = await send(request.clone());
      if (!BUSY.has(response.status) || attempt === TRIES) return response;
      const wait = 1000 * (Number(response.headers.get("Retry-After")) || 0) + Math.random() * JITTER_MS * 2 ** (attempt - 1);
      if (wait > MAX_WAIT_MS) return response;
      await response.body?.cancel();
      await sleep(wait, request.signal);
    }
  };
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop);
  });
}
