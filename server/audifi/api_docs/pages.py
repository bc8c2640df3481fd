"""The page at `/docs` and its script. Neither loads anything from another host."""

SWAGGER_UI = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>AudiFi API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<noscript>This page needs JavaScript. <a href="/openapi.json">The OpenAPI document</a> doesn't.</noscript>
<main id="docs"></main>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""

START_SCRIPT = """\
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  filter: true,
  displayRequestDuration: true,
  displayOperationId: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  // Requests go to this server, not to the first of the list: the page's policy allows no other.
  plugins: [
    {
      statePlugins: {
        spec: {
          wrapActions: {
            updateJsonSpec: (original) => (spec) =>
              original({ ...spec, servers: [{ url: location.origin, description: "This server" }] }),
          },
        },
      },
    },
  ],
});
"""
