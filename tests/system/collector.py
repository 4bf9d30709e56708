# SPDX-License-Identifier: MIT
# A collector of traces as OpenTelemetry's receiver is one, written from opentelemetry-proto and the
# OTLP/HTTP specification: it takes POST /v1/traces in JSON and refuses what is not as written there.
import http.server
import json
import re
import threading


class NotOtlp(Exception):
    pass


def need(condition, what):
    if not condition:
        raise NotOtlp(what)


def check_attributes(attributes, where):
    for attribute in attributes:
        need(set(attribute) == {"key", "value"} and attribute["key"], f"{where}: {attribute}")
        ((kind, value),) = attribute["value"].items()
        if kind == "stringValue":
            need(isinstance(value, str), f"{where}: {attribute}")
        else:
            # 64-bit integers are text in Protobuf's JSON.
            need(kind == "intValue" and re.fullmatch(r"-?\d+", value), f"{where}: {attribute}")
    keys = [attribute["key"] for attribute in attributes]
    need(len(keys) == len(set(keys)), f"{where}: a key twice in {keys}")
    return {a["key"]: next(iter(a["value"].values())) for a in attributes}


def check_id(text, digits, what):
    need(re.fullmatch(f"[0-9a-f]{{{digits}}}", text) and int(text, 16), f"{what} is {text!r}")


SPAN_MEMBERS = {
    "traceId",
    "spanId",
    "parentSpanId",
    "name",
    "kind",
    "startTimeUnixNano",
    "endTimeUnixNano",
    "attributes",
    "links",
    "status",
}


def check_span(span):
    need(set(span) <= SPAN_MEMBERS, f"members {set(span) - SPAN_MEMBERS}")
    check_id(span["traceId"], 32, "traceId")
    check_id(span["spanId"], 16, "spanId")
    if "parentSpanId" in span:
        check_id(span["parentSpanId"], 16, "parentSpanId")
    need(span["name"] and isinstance(span["name"], str), "name")
    need(span["kind"] in (1, 2, 3, 4, 5), "kind")  # a number: names are not allowed
    for member in ("startTimeUnixNano", "endTimeUnixNano"):
        need(re.fullmatch(r"\d{19}", span[member]), f"{member} is {span[member]!r}")
    need(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]), "it ends before it begins")
    for link in span.get("links", []):
        check_id(link["traceId"], 32, "traceId of a link")
        check_id(link["spanId"], 16, "spanId of a link")
    need(span["status"] in ({}, {"code": 2}), f"status {span['status']}")
    return {**span, "attributes": check_attributes(span["attributes"], "span")}


def spans_of(document):
    """The spans of a TracesData, each with `resource`; raises NotOtlp."""
    need(set(document) == {"resourceSpans"}, f"members {set(document)}")
    found = []
    for entry in document["resourceSpans"]:
        resource = check_attributes(entry["resource"]["attributes"], "resource")
        need(resource.get("service.name"), "no service.name")
        for scope in entry["scopeSpans"]:
            need(scope["scope"]["name"], "a scope without a name")
            need(scope["spans"], "a scope without spans")
            found += [{**check_span(span), "resource": resource} for span in scope["spans"]]
    return found


class Collector:
    """Listens on a port of its own. behave(path, body) -> status may be set; None: no answer ever."""

    def __init__(self):
        self.spans, self.mistakes, self.requests, self.headers = [], [], 0, []
        self.behave = lambda: 200
        self.ending = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                collector.take(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def take(self, request):
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.requests += 1
        self.headers.append(dict(request.headers))
        status = self.behave()
        if status is None:
            self.ending.wait()
            return
        if status == 200:
            try:
                need(request.path == "/v1/traces", f"path {request.path}")
                need(request.headers["Content-Type"] == "application/json", "Content-Type")
                self.spans += spans_of(json.loads(body))
            except (NotOtlp, ValueError, KeyError, TypeError) as mistake:
                self.mistakes.append(repr(mistake))
                status = 400
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", "2")
        request.end_headers()
        request.wfile.write(b"{}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.ending.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
