"""A collector on loopback: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector(ThreadingHTTPServer):
    """What was posted to `/v1/traces` so far."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def endpoint(self) -> str:
        """The base URL that a tracing configuration takes."""
        return f"http://localhost:{self.server_port}"

    def services(self) -> set[str]:
        """Return the services that sent spans."""
        resources = [spans.resource for request in self.requests for spans in request.resource_spans]
        return {it.value.string_value for one in resources for it in one.attributes if it.key == "service.name"}

    def span_names(self) -> list[str]:
        """Return the names of all spans."""
        scopes = [it for request in self.requests for spans in request.resource_spans for it in spans.scope_spans]
        return [span.name for scope in scopes for span in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the requests are kept."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """Yield a collector that serves until the block ends."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()
