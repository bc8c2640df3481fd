"""Traces by OpenTelemetry. Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set.

There is a span per request, per statement within one, and per job (docs/decisions/0020-telemetry.md). Attributes have
the names of https://opentelemetry.io/docs/specs/semconv/; none holds a statement's values, a query string or a path.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import override

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from audifi.core.config.settings import Settings
from audifi.core.db.errors import sqlstate
from audifi.core.telemetry.context import current_trace_id

type JobHandler = Callable[[bytes], Awaitable[None]]

logger = logging.getLogger(__name__)

EXPORT_TIMEOUT_SECONDS = 5
FLUSH_SECONDS = 1
SERVER_ERROR = 500
PROPAGATOR = TraceContextTextMapPropagator()


class Tracer:
    """Has a provider of its own, which no library finds to add spans with values."""

    def __init__(self, settings: Settings) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # logs each failure; LoggingExporter the first
        endpoint = f"{settings.otel_exporter_otlp_endpoint}/v1/traces"
        exporter = LoggingExporter(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS), settings)
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

    def begin_request(self, scheme: str, headers: Mapping[bytes, bytes]) -> Span:
        """Start a request's span, in the trace that `traceparent` names (https://www.w3.org/TR/trace-context/)."""
        carrier = {
            name: headers[name.encode()].decode("latin-1") for name in PROPAGATOR.fields if name.encode() in headers
        }
        parent = PROPAGATOR.extract(carrier)
        attributes = {"url.scheme": scheme, "network.protocol.name": "http"}
        span = self._tracer.start_span("request", parent, SpanKind.SERVER, attributes)
        # Never detached: each request is a task of its own.
        context.attach(trace.set_span_in_context(span, parent))
        current_trace_id.set(trace.format_trace_id(span.get_span_context().trace_id))
        return span

    @staticmethod
    def end_request(span: Span, method: str, route: str, status: int, error: str | None) -> None:
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
        if status >= SERVER_ERROR:
            span.set_status(StatusCode.ERROR)
        if error:
            span.set_attribute("error.type", error)
        span.end()

    # Jobs

    def trace_job(self, name: str, handler: JobHandler) -> JobHandler:
        """Return the handler with a span per attempt."""

        async def traced(payload: bytes) -> None:
            with self._spanning(f"job {name}", SpanKind.CONSUMER, {}):
                await handler(payload)

        return traced

    # Statements

    @contextmanager
    def statement(self, text: str) -> Iterator[None]:
        """Return the context of a statement: a span, within a trace."""
        if not in_trace():
            yield
            return
        with self._ending(self._statement(text)):
            yield

    def _statement(self, text: str) -> Span:
        """The text has placeholders; the values are sent apart, and not traced."""
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
        """Send the spans that wait, for at most FLUSH_SECONDS."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, FLUSH_SECONDS)


def in_trace() -> bool:
    """Return whether a request or job is traced. Statements of pollers aren't."""
    return trace.get_current_span().is_recording()


def _fail(span: Span, error: BaseException) -> None:
    """Record the type of error; its message may hold values."""
    span.set_attribute("error.type", sqlstate(error) or type(error).__qualname__)
    span.set_status(StatusCode.ERROR)


class LoggingExporter(SpanExporter):
    """Logs when export starts to fail, and when it works again."""

    def __init__(self, exporter: SpanExporter, settings: Settings) -> None:
        self._exporter = exporter
        self._endpoint = settings.otel_exporter_otlp_endpoint
        self._is_failing = False

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            logger.warning("trace export failed: endpoint=%s", self._endpoint)
        elif self._is_failing and not is_failing:
            logger.info("trace export recovered")
        self._is_failing = is_failing
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
