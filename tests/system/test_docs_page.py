# SPDX-License-Identifier: MIT
# The page at /docs: what it is as an answer, and what people see of it in a real browser, with mouse
# or keyboard, on a screen or a phone; and the browser has nothing to complain of.
import gzip
import os
import pathlib
import subprocess

import browser
import pytest
from suite import ROOT, run

FILES = ["/docs", "/docs/docs.css", "/docs/docs.js", "/docs/theme.css", "/docs/icon.svg"]
SHARED = ["theme.css", "icon.svg"]  # with the console
MAX_BYTES = 40 * 1024  # of the page with everything that it loads of itself


class TestFiles:
    @pytest.mark.parametrize("path", FILES)
    def test_as_other_static_answers(self, suite, api, path):
        answer = api.get(path)
        name = path.rpartition("/")[2] if path != "/docs" else "index.html"
        source = ROOT / ("gateway/pages" if name in SHARED else "gateway/docs") / name
        assert answer.status == 200 and answer.body == source.read_bytes()
        assert answer.etag and answer.headers["Cache-Control"] == "no-cache"
        again = api.get(path, if_none_match=answer.etag)
        assert again.status == 304 and again.body == b"" and again.etag == answer.etag
        head = api.request("HEAD", path)
        assert head.status == 200 and head.body == b""
        assert head.headers["Content-Length"] == str(len(answer.body))
        assert head.headers["Content-Type"] == answer.headers["Content-Type"]
        assert api.post(path, {}).status == 405

    @pytest.mark.parametrize("path", FILES[:4])
    def test_is_compressed(self, api, path):
        plain, packed = api.get(path), api.get(path, accept_encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body and packed.etag != plain.etag
        assert api.get(path, accept_encoding="gzip", if_none_match=packed.etag).status == 304

    @pytest.mark.parametrize("path", FILES)
    def test_policy_is_strict(self, api, path):
        first = api.get(path)
        for answer in (first, api.get(path, if_none_match=first.etag)):
            policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
            assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
            assert policy["connect-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
            assert policy["require-trusted-types-for"] == "'script'" and "unsafe" not in str(policy)
            assert answer.headers["X-Frame-Options"] == "DENY"
        # And the next answer, which is data, has the policy of data.
        assert api.get("/livez").headers["Content-Security-Policy"].startswith("default-src 'none'; frame")

    def test_is_small(self, api):
        assert sum(len(api.get(path).body) for path in FILES) < MAX_BYTES

    def test_asks_nobody_else(self, api):
        for path in FILES[:4]:
            text = api.get(path).body.decode()
            assert "http:" not in text and "https:" not in text, path

    @pytest.mark.parametrize("path", ["/docs/", "/docs/index.html", "/docs/none", "/docs/../livez"])
    def test_nothing_else_is_there(self, api, path):
        assert api.get(path).status in (400, 404)

    def test_has_routes_of_its_own_in_the_metrics(self, suite, api):
        for path in FILES:
            api.get(path)
        text = suite.admin_page("gateway-1", "/metrics")[1]
        assert 'http_route="/docs"' in text and 'http_route="/docs/{file}"' in text
        paths = api.get("/openapi.json").json()["paths"]
        assert "/docs" in paths and "/docs/{file}" not in paths


class TestSetting:
    LEVELS = {
        "page": {"/docs": 200, "/docs/docs.js": 200, "/openapi.json": 200, "/asyncapi.json": 200},
        "documents": {"/docs": 404, "/docs/docs.js": 404, "/openapi.json": 200, "/asyncapi.json": 200},
        "off": {"/docs": 404, "/docs/docs.js": 404, "/openapi.json": 404, "/asyncapi.json": 404},
    }

    @pytest.mark.parametrize("value", LEVELS)
    def test_says_what_there_is(self, own_suite, value):
        from api import Client

        own_suite.environment["SLUICE_DOCS"] = value
        client = Client(own_suite.up().port)
        assert {path: client.get(path).status for path in self.LEVELS[value]} == self.LEVELS[value]
        links = client.get("/").json()["links"].values()
        for path, status in self.LEVELS[value].items():
            assert (path in links) == (status == 200 and path.count("/") == 1)
        assert client.get("/v1/products").status == client.get("/problems").status == 200

    def test_a_wrong_value(self):
        result = run("sluice-gateway", env={"SLUICE_DOCS": "no", "PATH": os.environ["PATH"]})
        assert result.returncode != 0
        assert "SLUICE_DOCS" in result.stderr and "page, documents, off" in result.stderr


# --- In a browser

needs_browser = pytest.mark.skipif(
    not browser.PROGRAM, reason="chromium is not installed (deploy/packages test)"
)


@pytest.fixture
def page(suite, chromium):
    chromium.complaints.clear()
    chromium.size(1280, 900)
    chromium.dark(False)
    chromium.open("about:blank")
    chromium.open(f"http://127.0.0.1:{suite.port}/docs")
    chromium.run("localStorage.clear(); delete document.documentElement.dataset.theme")
    chromium.wait("document.body.dataset.ready")
    yield chromium
    assert chromium.complaints == []


SHOWN = "[...document.querySelectorAll('.item[data-words]')].filter(i => i.checkVisibility()).map(i => i.id)"
BACK = "getComputedStyle(document.body).backgroundColor"


def opened(page, name):
    page.run(f"document.getElementById('{name}').open = true")
    return page.wait(f"(d => d.children[1].innerText)(document.getElementById('{name}'))")


@needs_browser
class TestPage:
    def test_every_operation_and_event_is_there(self, api, page):
        document, events = api.get("/openapi.json").json(), api.get("/asyncapi.json").json()
        wanted = [
            operation["operationId"]
            for item in document["paths"].values()
            for operation in item.values()
        ] + [f"event-{topic}" for topic in events["channels"]]
        assert sorted(page.run(SHOWN)) == sorted(wanted)
        page_order = page.run("[...document.querySelectorAll('.group h2')].map(h => h.textContent)")
        services = [name for name in page_order if not name.startswith("events of")]
        assert services == sorted(services[:-1]) + ["gateway"]
        assert page.run("document.title") == "Sluice API"
        titles = page.run("[...document.querySelectorAll('h2')].map(h => h.textContent)")
        for tag in document["tags"]:
            assert tag["name"] in titles and tag["description"] in page.text("#operations")
        assert "at least once" in page.text("#events")
        assert page.text("#failed") == ""

    def test_an_operation(self, page):
        text = opened(page, "placeOrder")
        for part in (
            "needs an access token", "Idempotency-Key required", "application/vnd.msgpack",
            "items[].sku required", "1 to 10000", "201 Created", "409 Out of stock", "unit_price.amount",
            "Authorization: Bearer $TOKEN", "Content-Type: application/json", '"quantity":1',
        ):  # fmt: skip
            assert part in text, part
        text = opened(page, "search")
        assert "product, order, user; several with commas" in text and "default 20" in text
        assert "access token optional" in text and "?q=example" in text
        assert "open to everybody" in opened(page, "createUser")

    def test_an_event(self, page):
        text = opened(page, "event-orders.order.paid")
        for part in ("Key and subject: the id of the order", "total.amount required", "items[].line_total.currency required",
                     "sluice-tap tail -f --topic 'orders.order.paid'"):  # fmt: skip
            assert part in text, part
        page.click("#events-about details summary")
        assert "partitionkey" in page.text("#events-about")

    @pytest.mark.parametrize("operation,status", [("listProducts", "200"), ("createUser", "422"), ("getProblem", "200")])
    def test_the_command_works(self, page, operation, status):
        opened(page, operation)
        command = page.run(f"document.querySelector('#{operation} pre').textContent")
        assert command.startswith("curl ")
        # A password that is easy to guess is refused: the example is one.
        result = subprocess.run(
            ["sh", "-c", f"{command} -s -o /dev/null -w '%{{http_code}}'"],
            capture_output=True, text=True, env={**os.environ, "SLUG": "not-found"},
        )  # fmt: skip
        assert result.stdout == status, (command, result)

    def test_filter(self, page):
        page.key("/")
        page.type("orders cancel")
        page.wait(f"{SHOWN}.length === 2")
        assert set(page.run(SHOWN)) == {"cancelOrder", "event-orders.order.cancelled"}
        assert page.text("#found") == "2 found"
        assert not page.run("document.getElementById('about').checkVisibility()")
        page.key("Escape")
        page.wait(f"{SHOWN}.length > 30")
        page.key("/")
        page.type("none of this")
        page.wait("!document.getElementById('nothing').hidden")
        page.key("Escape")

    def test_by_keyboard_alone(self, page):
        page.key("Tab")
        assert "To the content" in page.run("document.activeElement.textContent")
        page.run("document.querySelector('#listProducts summary').focus()")
        page.key("Enter")
        page.wait("document.getElementById('listProducts').open")
        page.wait("document.getElementById('listProducts').innerText.includes('limit')")
        page.key("Enter")
        page.wait("!document.getElementById('listProducts').open")
        # Each thing that can be used is reached, and has a name.
        names = page.run("""[...document.querySelectorAll('a, button, input, summary')].filter(e => e.checkVisibility())
            .map(e => (e.innerText || e.labels?.[0]?.innerText || '').trim())""")
        assert len(names) > 60 and all(names)

    def test_a_link_to_an_operation(self, suite, page):
        page.open("about:blank")
        page.open(f"http://127.0.0.1:{suite.port}/docs#placeOrder")
        page.wait("document.getElementById('placeOrder')?.open")
        page.wait("(r => r.top >= 0 && r.top < innerHeight / 2)(document.getElementById('placeOrder').getBoundingClientRect())")
        page.click("#toc a[href='#event-users.user.created']")
        page.wait("document.getElementById('event-users.user.created').open")

    def test_dark_and_light(self, page):
        light = page.run(BACK)
        page.dark(True)
        dark = page.run(BACK)
        assert light != dark
        page.click("#theme")
        assert page.run(BACK) == light
        page.open(page.run("location.href.split('#')[0]") + "?again")
        page.wait("document.body.dataset.ready")
        assert page.run(BACK) == light
        page.dark(False)

    @pytest.mark.parametrize("dark", [False, True])
    def test_can_be_read(self, page, dark):
        """Texts stand out from what is behind them (WCAG 2.1 AA: 4.5 to 1)."""
        page.dark(dark)
        opened(page, "placeOrder")
        worst = page.run("""(() => {
            const light = (c) => c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const parts = (text) => text.match(/[\\d.]+/g).map(Number);
            const behind = (e) => { for (; e; e = e.parentElement) {
                const c = parts(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); }
                return [255, 255, 255]; };
            let worst = [99, ''];
            for (const e of document.querySelectorAll('body *')) {
                if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
                const [a, b] = [light(parts(getComputedStyle(e).color).slice(0, 3)), light(behind(e))];
                const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 200)];
            }
            return worst; })()""")
        assert worst[0] >= 4.5, worst

    def test_on_a_phone(self, page):
        page.size(360, 740, mobile=True, scale=2)
        for name in ("placeOrder", "createProduct", "event-orders.order.placed"):
            opened(page, name)
        assert page.run("document.documentElement.scrollWidth") <= 360
        # Nothing of a table is beyond the edge either; a command may be, and is scrolled.
        assert page.run("""[...document.querySelectorAll('.table')].filter(t => t.checkVisibility())
            .every(t => t.scrollWidth <= t.clientWidth)""")
        assert page.run("parseFloat(getComputedStyle(document.body).fontSize)") >= 15
        if "SLUICE_SCREENSHOT" in os.environ:
            pathlib.Path(os.environ["SLUICE_SCREENSHOT"]).write_bytes(page.screenshot())

    def test_a_document_that_is_not_there(self, page):
        page.run("document.getElementById('failed').textContent = ''")
        page.run("load('docs/none.json', showEvents)")
        page.wait("document.getElementById('failed').textContent.includes('status 404')")
        # The browser names the 404 itself: that one complaint is expected.
        assert [kind for kind, _ in page.complaints] == ["log"]
        page.complaints.clear()
