"""Route templates for logs and metrics; paths are unbounded and may contain secrets."""

from collections.abc import Sequence

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount
from starlette.types import Scope

UNMATCHED = "unmatched"
"""In place of a template, for a path that no route has."""


class RouteTemplates:
    """Finds the template of the route that took a request: `/api/v1/auth/sessions/{session_id}`."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """
        Args:
            routes: the app's, complete by the time of the first request.
        """
        self._routes = routes
        self._templates: dict[int, str] | None = None

    def find(self, scope: Scope) -> str:
        """Return the template, with the prefixes of all routers, or UNMATCHED."""
        if self._templates is None:
            self._templates = _templates(self._routes)
        # FastAPI sets the route where another router included it, else the endpoint alone.
        template = self._templates.get(id(scope.get("route"))) or self._templates.get(id(scope.get("endpoint")))
        return template or UNMATCHED


def _templates(routes: Sequence[BaseRoute]) -> dict[int, str]:
    """Return the templates by the identity of routes and endpoints, because routes have no hash."""
    templates = {}
    for context in iter_route_contexts(routes):
        route = context.original_route
        template = f"{context.path}/{{path}}" if isinstance(route, Mount) else str(context.path)
        for key in (route, getattr(route, "endpoint", None), getattr(route, "app", None)):
            if key is not None:
                templates[id(key)] = template
    return templates
