/** What the API, or something in its place, answers instead of what was asked for. */
import type { components } from "./schema.ts";

/** RFC 9457. Decide by `code`. */
export type Problem = components["schemas"]["ProblemDetails"];

/** An answer other than the one that was asked for. `code` is `unknown` if it wasn't the API that answered. */
export class ApiError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    const fields = problem.errors?.map(({ pointer, parameter, detail }) => `${pointer || parameter || "body"}: ${detail}`);
    super(`${problem.status} ${problem.code}: ${problem.title}${fields ? ` (${fields.join("; ")})` : ""}`);
    this.name = "ApiError";
    this.problem = problem;
  }
}

/** What answered may be something between here and the API, which knows no problems. */
export function asProblem(body: unknown, { status, statusText }: Response): Problem {
  if (typeof body === "object" && body !== null && "code" in body && typeof body.code === "string") return body as Problem;
  return { type: "about:blank", title: statusText || `Status ${status}`, status, instance: "", code: "unknown", request_id: "" };
}

/**
 * The data of an answer, for callers that want errors thrown.
 *
 * @throws {ApiError}
 */
export function dataOf<T>({ data, error, response }: { data?: T; error?: unknown; response: Response }): T {
  if (response.ok) return data as T;
  throw new ApiError(asProblem(error, response));
}

export function problemResponse(problem: Problem): Response {
  return new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: { "Content-Type": "application/problem+json" },
  });
}

export async function isAboutAccessToken(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => undefined);
  return asProblem(body, response).code.startsWith("access_token.");
}
