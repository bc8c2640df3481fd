"""Traces by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT is set; without it nobody imports this module.

A span for each request, for each statement within one, and for each job (docs/decisions/0021-traces.md). Attributes are
named by https://opentelemetry.io/docs/specs/semconv/; none has values of a statement, a query or a path.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, override

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Scope

from audifi.core.config.settings import Settings
from audifi.core.db.errors import sqlstate
from audifi.core.jobs.queue import Kind
from audifi.core.telemetry.logging import current_trace_id

logger = logging.getLogger(__name__)

EXPORT_TIMEOUT_SECONDS = 5
FLUSH_SECONDS = 1
SERVER_ERROR = 500
PROPAGATOR = TraceContextTextMapPropagator()


class Traces:
    """A provider of its own: no library finds it, and adds spans with what it takes for harmless."""

    def __init__(self, settings: Settings) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # a line for each failure; ToldExporter has one
        endpoint = f"{settings.otel_exporter_otlp_endpoint}/v1/traces"
        exporter = ToldExporter(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS), settings)
        place = {"cloud.region": settings.fly_region, "host.id": settings.fly_machine_id}
        resource = Resource.create(
            {
                "service.name": "audifi-api",
                "service.version": settings.version,
                "deployment.environment.name": settings.deployment,
                **{name: value for name, value in place.items() if value},
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("audifi")

    # Requests

    def begin(self, scope: Scope) -> Span:
        """Start a request's span, in the trace that its `traceparent` names (https://www.w3.org/TR/trace-context/)."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parent = PROPAGATOR.extract(headers)
        span = self._tracer.start_span(
            "request", parent, SpanKind.SERVER, {"url.scheme": scope["scheme"], "network.protocol.name": "http"}
        )
        # Never detached: each request is a task of its own.
        context.attach(trace.set_span_in_context(span, parent))
        trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        current_trace_id.set(trace_id)
        scope["state"]["trace_id"] = trace_id
        return span

    @staticmethod
    def end(span: Span, method: str, route: str, status: int, error: str | None) -> None:
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
        if status >= SERVER_ERROR:
            span.set_status(StatusCode.ERROR)
        if error:
            span.set_attribute("error.type", error)
        span.end()

    # Jobs

    def job(self, kind: Kind) -> Kind:
        """The same, with a span for each attempt."""

        async def traced(payload: bytes) -> None:
            with self._spanning(f"job {kind.name}", SpanKind.CONSUMER, {}):
                await kind.handler(payload)

        return replace(kind, handler=traced)

    # Statements

    def engine(self, engine: AsyncEngine) -> None:
        """Have a span for each statement that SQLAlchemy sends."""
        spans: dict[int, Span] = {}  # by the statement's execution context, which lives as long

        def begin(_conn: Any, _cursor: Any, statement: str, _values: Any, execution: Any, _many: Any) -> None:
            if in_trace():
                spans[id(execution)] = self._statement(statement)

        def end(_conn: Any, _cursor: Any, _statement: str, _values: Any, execution: Any, _many: Any) -> None:
            if span := spans.pop(id(execution), None):
                span.end()

        def fail(failure: ExceptionContext) -> None:
            if span := spans.pop(id(failure.execution_context), None):
                _fail(span, failure.original_exception)
                span.end()

        event.listen(engine.sync_engine, "before_cursor_execute", begin)
        event.listen(engine.sync_engine, "after_cursor_execute", end)
        event.listen(engine.sync_engine, "handle_error", fail)

    @contextmanager
    def statement(self, text: str) -> Iterator[None]:
        """A span for a statement that goes another way than SQLAlchemy's."""
        if not in_trace():
            yield
            return
        with self._ending(self._statement(text)):
            yield

    def _statement(self, text: str) -> Span:
        """Its text has placeholders; what is put there is sent apart, and not told."""
        operation = text.split(maxsplit=1)[0].upper() if text.strip() else ""
        attributes = {"db.system.name": "postgresql", "db.query.text": text, "db.operation.name": operation}
        return self._tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes)

    @contextmanager
    def _spanning(self, name: str, kind: SpanKind, attributes: dict[str, str]) -> Iterator[None]:
        span = self._tracer.start_span(name, context.Context(), kind, attributes)
        token = context.attach(trace.set_span_in_context(span, context.Context()))
        trace_token = current_trace_id.set(trace.format_trace_id(span.get_span_context().trace_id))
        try:
            with self._ending(span):
                yield
        finally:
            current_trace_id.reset(trace_token)
            context.detach(token)

    @contextmanager
    def _ending(self, span: Span) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            _fail(span, error)
            raise
        finally:
            span.end()

    async def close(self) -> None:
        """Send what is left, in FLUSH_SECONDS, by a thread that the process doesn't wait for."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, FLUSH_SECONDS)


def in_trace() -> bool:
    """Or else there would be a trace for each look into the queue of jobs."""
    return trace.get_current_span().is_recording()


def _fail(span: Span, error: BaseException) -> None:
    """By its kind; what it says may hold values."""
    span.set_attribute("error.type", sqlstate(error) or type(error).__qualname__)
    span.set_status(StatusCode.ERROR)


class ToldExporter(SpanExporter):
    """Says in the log when traces begin to be lost, and when they no longer are."""

    def __init__(self, exporter: SpanExporter, settings: Settings) -> None:
        self._exporter = exporter
        self._where = settings.otel_exporter_otlp_endpoint
        self._is_lost = False

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_lost = result is not SpanExportResult.SUCCESS
        if is_lost and not self._is_lost:
            logger.warning("traces are lost: %s doesn't take them", self._where)
        elif self._is_lost and not is_lost:
            logger.info("traces are taken again")
        self._is_lost = is_lost
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
