"""The OpenAPI document's texts about the API as a whole, in Markdown."""

SUMMARY = "Masters, dividends, studio sessions, artist coins, accounts."

DESCRIPTION = """\
## Sign in

There are no passwords. `requestMagicLink` sends an e-mail with a link and a code. `verifyMagicLink` exchanges either
for an access token, valid for 10 minutes, and a refresh token. `refreshSession` exchanges the refresh token for new
tokens. Send the access token as `Authorization: Bearer …`, and keep it in memory only.

`delivery` chooses where the refresh token is kept. `cookie` is for pages on an allowed origin of the same site as this
API (`credentials: "include"`); `body` is for every other client. `fly.dev` is a public suffix: no page is of the same
site as a host there.

To sign in at `/docs`, execute `requestMagicLink` with your address and `verifyMagicLink` with `flow_id` and the code,
then put the access token into *Authorize*.

## Conventions

- **Errors** are `application/problem+json` (RFC 9457). Decide by `code`, which is stable; show `title` and `detail` to
  people.
- **`X-Request-ID`** is in every response and in the logs. Send your own (1 to 64 letters, digits, `.`, `_`, `-`) to use
  it instead.
- **Rate limits**: responses carry what is left of each limit (`RateLimit`, `RateLimit-Policy`), except those of health
  checks and of requests that were refused unread. After a 429 or 503, wait for the seconds in `Retry-After`.
- **Servers that call for people**, such as a frontend's own, have a secret: `AudiFi-Caller-Secret`, with the person's
  address in `AudiFi-Client-IP`. Limits and the audit log then use that address. Never send it from a browser or an app.
- **Lists** have pages: pass `next_cursor` as `cursor` until it is null.
- **Times** are RFC 3339 in UTC; **ids** are UUIDs (RFC 9562). Treat them as opaque.
- **Requests** are JSON of at most 64 KB. Unknown fields and unknown query parameters are refused with 422; only health
  ignores its query. Responses may get new fields, and enumerations new
  values, at any time: ignore those that you don't know.
"""

LICENSE = {"name": "All rights reserved", "url": "https://choosealicense.com/no-permission/"}
