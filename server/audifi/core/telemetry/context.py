"""Context variables: the ids of the request that the current task handles."""

from contextvars import ContextVar

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")
"""The value of X-Request-ID; empty outside of a request."""
current_trace_id: ContextVar[str] = ContextVar("current_trace_id", default="")
"""32 hexadecimal digits; empty where nothing is traced."""
