"""What the OpenAPI document says of the API as a whole, in Markdown."""

SUMMARY = "Masters, dividends, studio sessions, artist coins, accounts."

DESCRIPTION = """\
## Sign in

There are no passwords: `requestMagicLink` has a link and a code sent by mail, `verifyMagicLink` swaps either for an
access token, good for 10 minutes, and a refresh token; `refreshSession` gets the next ones. Send the access token as
`Authorization: Bearer …`, and keep it in memory alone.

Where the refresh token is kept is asked for by `delivery`: `cookie`, for pages of the same site as this API, on an
origin that it knows (`credentials: "include"`); `body`, for everything else. `fly.dev` is a public suffix: no page is
of the same site as a host there.

## Conventions

- **Errors** are `application/problem+json` (RFC 9457). Decide by `code`, which is stable; show `title` and `detail`.
- **`X-Request-ID`** is in each answer, and in the logs. Send your own (1 to 64 letters, digits, `.`, `_`, `-`) to have
  it used.
- **Limits**: each answer that was counted says what is left (`RateLimit`, `RateLimit-Policy`); health's aren't, nor
  what was refused unread. After a 429 or a 503, wait for as long as `Retry-After` says.
- **Lists** come in pages: pass `next_cursor` as `cursor` until it is null.
- **Instants** are RFC 3339 in UTC, **ids** are UUIDv7 (RFC 9562). Don't take them apart.
- **Requests** are JSON of at most 64 KB, and hold no fields that aren't described. Answers may get new fields at any
  time, and lists of words, such as events, new words: ignore what you don't know.
- **`ETag`**: reads that may be kept have one; send it as `If-None-Match`.
"""

LICENSE = {"name": "All rights reserved", "url": "https://choosealicense.com/no-permission/"}
