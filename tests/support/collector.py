"""OpenTelemetry collector that stores the traces it receives (OTLP over HTTP)."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support import web

WAIT_SECONDS = 15


@dataclass(frozen=True, kw_only=True)
class Span:
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    attributes: dict[str, Any]
    is_error: bool
    resource: dict[str, Any]


@dataclass
class Collector:
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def keep(self, body: bytes) -> None:
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            self.spans += [
                Span(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=span.kind,
                    attributes=_values(span.attributes),
                    is_error=span.status.code == 2,  # STATUS_CODE_ERROR
                    resource=resource,
                )
                for scope in group.scope_spans
                for span in scope.spans
            ]

    def wait_for(self, wanted: Callable[[Span], bool]) -> Span:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (spans := [span for span in list(self.spans) if wanted(span)]):
            assert time.monotonic() < deadline, [(span.name, span.attributes) for span in self.spans]
            time.sleep(0.05)
        return spans[0]


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def running() -> Iterator[Collector]:
    collector = Collector()

    class Handler(web.Handler):
        def do_POST(self) -> None:
            collector.keep(self.read())
            self.reply(200 if self.path == "/v1/traces" else 404)

    with web.serving(Handler) as collector.url:
        yield collector
