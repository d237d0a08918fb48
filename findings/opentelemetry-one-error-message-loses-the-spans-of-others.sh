#!/usr/bin/env bash
# OpenTelemetry for Python and OTLP: an error whose message is not valid Unicode takes the spans of others along, an attribute does not.
#
# A program works on three files, with a span each; the name of the second is Latin-1, which Python gives with lone surrogates.
# Its span has that name as an attribute, or as its own name, or ends in an error whose message has it. All three spans are sent in
# one batch to a collector, which is an HTTP server here that counts what has arrived.
# Guess:     what cannot be written is left out or replaced, and said so: nothing of one span has to do with another one.
# Behaviour: it is so for attributes: the span arrives without that one, and the key is logged. The name of a span, of an event, and
#            the description of its status, which start_as_current_span makes of the message of whatever was raised, are encoded
#            where nobody catches: the whole batch, up to 512 spans of any request, is given up. With 1.45 that is one line
#            in the log, "Failed to encode span batch", which names no span. OSError is harmless, as its message has the repr of
#            the file's name.
# Seen with: opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http 1.45.2 and 1.27.0, Python 3.11.7:
#
#     1.27.0 an attribute: one, bad, two
#     1.27.0 the name of an event: nothing
#     1.27.0 an error: nothing
#     1.27.0 an OSError: one, bad, two
#     1.45.2 an attribute: one, bad, two
#     1.45.2 the name of an event: nothing
#     1.45.2 an error: nothing
#     1.45.2 an OSError: one, bad, two
#
# So: whoever sets a status or a name from text of others makes it valid first: text.encode(errors="backslashreplace").decode().
# flujo records errors in this way, and its server's spans of calls, too (flujo.server.tracing).
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > spans.py <<'PYTHON'
import gzip
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

FILE = os.fsdecode(b"r\xe9sum\xe9.txt")
arrived = []


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            arrived.extend(span.name for scope in resource.scope_spans for span in scope.spans)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def attribute(span):
    span.set_attribute("file", FILE)


def event(span):
    span.add_event(f"reading {FILE}")


def error(span):
    raise ValueError(f"cannot read {FILE}")


def os_error(span):
    open(FILE)


collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=collector.serve_forever, daemon=True).start()
provider = TracerProvider()
provider.add_span_processor(
    BatchSpanProcessor(OTLPSpanExporter(f"http://127.0.0.1:{collector.server_port}/v1/traces"), schedule_delay_millis=3_600_000)
)
tracer = provider.get_tracer("files")
ways = {"an attribute": attribute, "the name of an event": event, "an error": error, "an OSError": os_error}
for way, spoil in ways.items():
    arrived.clear()
    with tracer.start_as_current_span("one"):
        pass
    try:
        with tracer.start_as_current_span("bad") as span:
            spoil(span)
    except (ValueError, OSError):
        pass
    with tracer.start_as_current_span("two"):
        pass
    provider.force_flush()
    print(f"{way}: {', '.join(arrived) or 'nothing'}")
PYTHON

for version in 1.27.0 1.45.2; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "opentelemetry-sdk==$version" \
        "opentelemetry-exporter-otlp-proto-http==$version" > log 2>&1 || { cat log; exit 1; }
    "$version/bin/python" spans.py > said 2> log || { cat log; exit 1; }
    while IFS= read -r line; do
        echo "$version $line"
        grep -qxF "#     $version $line" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
    done < said
    [ "$(wc -l < said)" = 4 ]
    cp log "log.$version"
done
grep -q '^Failed to encode span batch' log.1.45.2
