"""Pages for people: where they are, and the API to try out. Nothing on them comes from anywhere else."""

from html import escape

HEAD = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>AudiFi API</title>
<link rel="icon" href="data:,">
"""

SWAGGER = (
    HEAD
    + """\
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<noscript>This page needs JavaScript. <a href="/openapi.json">The document</a> that it shows does not.</noscript>
<main id="docs"></main>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
)

START = """\
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
  // Against this server, not the first of the list: the page is allowed to ask no other.
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

HOME = (
    HEAD
    + """\
<link rel="stylesheet" href="/home.css">
<main>
<h1>AudiFi API</h1>
<p>The API behind AudiFi. It is for programs; people go to <a href="{app_url}">{app_host}</a>.</p>
<ul>
{links}
</ul>
<p class="version">Version {version}</p>
</main>
</html>
"""
)

HOME_STYLE = """\
:root { color-scheme: light dark; font: 1.05rem/1.6 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: light-dark(#f6f5f3, #16151a) }
main { max-width: 30rem; margin: 1rem; padding: 2rem 2.5rem; border-radius: 1rem;
  background: light-dark(#fff, #211f27); box-shadow: 0 1px 3px #0003 }
h1 { margin: 0 0 .5rem; font-size: 1.6rem }
ul { padding: 0; list-style: none }
li { display: flex; gap: 1rem; justify-content: space-between; border-top: 1px solid light-dark(#e6e4e0, #35323d);
  padding: .5rem 0 }
a { color: light-dark(#5a31d6, #b7a2ff) }
.version { margin: 0; font-size: .85rem; opacity: .7 }
"""


def home(*, version: str, app_url: str, links: dict[str, str]) -> str:
    """Links: what they lead to, by what it is called."""
    lines = (
        f'<li><span>{escape(name)}</span><a href="{escape(path)}">{escape(path)}</a></li>'
        for name, path in links.items()
    )
    return HOME.format(
        version=escape(version),
        app_url=escape(app_url),
        app_host=escape(app_url.partition("//")[2]),
        links="\n".join(lines),
    )
