"""The page at `/docs`, its style and its script. None of them loads anything from another host."""

SWAGGER_UI = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>AudiFi API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="stylesheet" href="/docs/style.css">
<noscript>This page needs JavaScript. <a href="/openapi.json">The OpenAPI document</a> doesn't.</noscript>
<main id="docs"></main>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""

STYLE = """\
/* Swagger UI's code is higher than its lines, and covers the words above and below. */
.swagger-ui .renderedMarkdown :is(p, li) {
  line-height: 1.6;
  overflow-wrap: anywhere;
}
.swagger-ui .renderedMarkdown :is(p, li) code {
  padding: 1px 4px;
  box-decoration-break: clone;
  -webkit-box-decoration-break: clone;
}
/* On a phone, operation ids have a line of their own: Swagger UI breaks them into pieces of a few letters. */
@media (max-width: 640px) {
  .swagger-ui .opblock .opblock-summary-control {
    flex-wrap: wrap;
  }
  .swagger-ui .opblock .opblock-summary-path-description-wrapper {
    flex: 1;
  }
  .swagger-ui .opblock .opblock-summary-operation-id {
    flex-basis: 100%;
    margin-top: 4px;
  }
}
"""

START_SCRIPT = """\
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// Swagger UI's open lock is hard to tell from its closed one: here the shackle stands beside the body.
const LOCK_BODY = "M2 9h10a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H2a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1z";
const OPEN_SHACKLE = "M10 9V6a4.5 4.5 0 0 1 9 0v3h-2V6a2.5 2.5 0 0 0-5 0v3z";
// Only the class is taken over: among the other properties is the whole document, which React would write as text.
const openLock = ({ React }) => ({ className }) =>
  React.createElement(
    "svg",
    { className, viewBox: "0 0 20 20", width: 20, height: 20, "aria-hidden": true },
    React.createElement("path", { d: `${LOCK_BODY} ${OPEN_SHACKLE}` }),
  );

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
    (system) => ({
      components: { UnlockAuthIcon: openLock(system), UnlockAuthOperationIcon: openLock(system) },
      statePlugins: {
        auth: {
          wrapSelectors: {
            // Without this, an operation that also takes no credential would look as if one had been given.
            isAuthorized: (original) => (_, requirements) =>
              original(requirements?.filter((requirement) => requirement.size > 0)),
          },
        },
        spec: {
          wrapActions: {
            updateJsonSpec: (original) => (spec) =>
              original({ ...spec, servers: [{ url: location.origin, description: "This server" }] }),
          },
        },
      },
    }),
  ],
});
"""
