"""The class of features' routes: APIRouter(route_class=StrictRoute)."""

from collections.abc import Callable, Coroutine
from copy import copy
from dataclasses import replace
from typing import Any, override

from fastapi import Request, Response, params
from fastapi.dependencies.utils import get_dependant, get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


class StrictRoute(APIRoute):
    """Answers unknown query parameters with 422, as `RequestModel` does unknown fields: a typo isn't ignored.

    The dependencies run first, so that a request without a valid token gets 401. A request without a query string pays
    nothing for it.
    """

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        declared = frozenset(
            field.alias
            for field in get_flat_params(self.dependant)
            if not isinstance(field.field_info, (params.Path, params.Header, params.Cookie))
        )

        async def refuse_unknown(request: Request) -> None:
            if unknown := request.query_params.keys() - declared:
                error = {"type": "extra_forbidden", "msg": "Unknown query parameter"}
                raise RequestValidationError([error | {"loc": ("query", name)} for name in sorted(unknown)])

        last = get_dependant(path=self.path_format, call=refuse_unknown)
        checked = copy(self)
        checked.dependant = replace(self.dependant, dependencies=[*self.dependant.dependencies, last])
        handle, handle_query = super().get_route_handler(), super(StrictRoute, checked).get_route_handler()

        async def handle_request(request: Request) -> Response:
            return await (handle_query if request.scope["query_string"] else handle)(request)

        return handle_request
