# SPDX-License-Identifier: MIT
# The console in a real browser: people open it, look, follow events, bring a dead letter back, with
# mouse or keyboard, on a screen or a phone; and the browser has nothing to complain of.
#
# SLUICE_SCREENSHOT=docs/console.png makes the README's picture with the last test.
import os
import pathlib
import re
import threading
import time

import browser
import pytest
from people import add_product, admin_of, fresh, register
from queue_client import ACK, TERM, Member, Queue, Refused, new_event
from suite import PATIENCE, Suite, free_port, wait_for
from test_traces import new_parent, place_while_store_is_held, trace_id

pytestmark = [
    pytest.mark.skipif(not browser.PROGRAM, reason="chromium is not installed (deploy/packages test)"),
    pytest.mark.seconds(120),
]

# {heading: [text, class]} of the row of a table in which a text is; undefined while there is none.
CELLS = """(() => {{
    const names = [...document.querySelector('{0}').tHead.rows[0].cells].map(h => h.textContent);
    const row = [...document.querySelectorAll('{0} tbody tr')].find(r => r.innerText.includes('{1}'));
    return row && Object.fromEntries(names.map((name, i) => [name, [row.cells[i].textContent, row.cells[i].className]]));
}})()"""
ROW = "[...document.querySelectorAll('{} tbody tr')].map(r => r.innerText)"


@pytest.fixture(scope="module")
def lab():
    with Suite(
        SLUICE_ADMIN_LISTEN=f"127.0.0.1:{free_port()}",
        SLUICE_SCALE_USERS=2,
        SLUICE_SCALE_ORDERS=2,
        SLUICE_SURVEY_INTERVAL="500ms",  # of alerts
    ) as own:
        yield own.up()


@pytest.fixture
def fresh_page(lab, chromium):
    """The browser before the login; afterwards nothing may have gone wrong in it."""
    chromium.complaints.clear()
    chromium.size(1280, 900)
    chromium.dark(False)
    url = f"http://{lab.environment['SLUICE_ADMIN_LISTEN']}/console"
    chromium.open(url)
    chromium.run("sessionStorage.clear(); localStorage.clear()")
    chromium.open(url + "?again")
    chromium.wait("!document.getElementById('login').hidden")
    yield chromium
    assert chromium.complaints == []


@pytest.fixture
def page(lab, fresh_page):
    """The console, open and live."""
    fresh_page.run("document.getElementById('token').focus()")
    fresh_page.type(lab.secret("admin-token"))
    fresh_page.key("Enter")
    fresh_page.wait("document.getElementById('link').dataset.state === 'live'")
    fresh_page.wait("document.querySelector('#tiles dd')?.textContent")
    fresh_page.wait("document.activeElement.id !== 'token'")  # keys go to the page
    return fresh_page


@pytest.fixture
def dead(lab, request):
    """(group, sequence) of a new dead letter."""
    group = getattr(request, "param", None) or fresh("page")
    with Queue(lab.queue_endpoint) as events:
        events.call("group-set", group=group, filters=[f"{group}.>"], max_deliveries=1)
        events.publish([new_event(f"{group}.thing.made", {"text": "<img src=x onerror=alert(1)>"}, key="k<b>1")])
        with Member(lab.queue_endpoint, group) as member:
            member.settle(member.take(1), TERM, error="<script>alert(1)</script>")
        wait_for(lambda: events.call("dead", group=group)["total"], 5, "the letter is there")
        yield group, events.call("dead", group=group)["entries"][0]["seq"]
        events.call("group-delete", group=group)


class TestLogin:
    def test_a_wrong_token(self, lab, fresh_page):
        page = fresh_page
        page.run("document.getElementById('token').focus()")
        page.type("wrong")
        page.key("Enter")
        page.wait("document.getElementById('login-error').textContent.includes('wrong')")
        assert page.run("document.getElementById('main').hidden")
        assert page.run("sessionStorage.length") == 0
        # The browser names the 401 itself: that one complaint is expected.
        assert [kind for kind, _ in page.complaints] == ["log"]
        page.complaints.clear()

    def test_a_link_with_the_token(self, lab, fresh_page):
        page = fresh_page
        page.open("about:blank")
        page.open(f"http://{lab.environment['SLUICE_ADMIN_LISTEN']}/console#{lab.secret('admin-token')}")
        page.wait("document.getElementById('link').dataset.state === 'live'")
        assert page.run("location.href").endswith("/console")  # it is not left in the history

    def test_the_token_stays_in_the_tab(self, lab, page):
        token = lab.secret("admin-token")
        assert page.run("document.cookie") == ""
        assert token not in page.run("JSON.stringify(localStorage)")
        assert token not in page.run("document.documentElement.outerHTML")


class TestViews:
    def test_workers(self, lab, page):
        page.click("#tab-workers")
        page.wait("document.querySelectorAll('#services tbody tr').length === 5")
        text = page.text("#workers")
        for instance in lab.instances():
            assert instance in text
        assert "writer" in text and "reader" in text and "serving" in text
        credits = {
            w["instance"]: w["credit"] for entry in lab.topology()["services"] for w in entry["workers"]
        }
        assert min(credits.values()) > 0
        for instance, credit in credits.items():
            shown = page.run(CELLS.format(f"table:has(tr[data-key={instance}])", instance))
            assert re.fullmatch(rf"\d+ / {credit}", shown["In flight / credit"][0]), shown
        page.wait(f"{ROW.format('#processes')}.every(r => r.includes('ready'))")

    def test_a_worker_more_and_one_less(self, lab, page):
        page.click("#tab-workers")
        lab.scale(search=2)
        page.wait("document.getElementById('services').innerText.includes('search-2')")
        lab.scale(search=1)
        page.wait("!document.getElementById('services').innerText.includes('search-2')")

    def test_routes(self, lab, page):
        ada = register(lab.port, "Ada")
        page.click("#tab-routes")
        for number in range(12):  # until a sample is from before them, and one from after
            assert ada.get("/v1/users/me").status == 200
            assert ada.get("/v1/orders/none-such").status == 404
            time.sleep(0.5)
        shown = page.wait(CELLS.format("#route-table", "GET /v1/users/me"))
        rate, everything = (float(shown[name][0].replace(",", "")) for name in ("per second", "all"))
        assert 0 < rate < 10 and everything >= 6
        assert shown["4xx"] == shown["5xx"] == ["0 %", "n"]
        assert re.fullmatch(r"[\d.]+ (µs|ms)", shown["p50"][0]) and re.fullmatch(r"[\d.]+ (µs|ms)", shown["p99"][0])
        missing = page.run(CELLS.format("#route-table", "GET /v1/orders/{id}"))
        assert missing["4xx"] == ["100 %", "n warn"] and missing["5xx"] == ["0 %", "n"]
        page.key("/")
        page.type("users/me")
        page.wait(f"{ROW.format('#route-table')}.every(r => r.includes('/v1/users/me'))")
        page.key("Escape")
        assert page.run("document.activeElement.tagName") == "BODY"

    def test_charts_have_words(self, page):
        labels = page.wait("""(() => { const l = [...document.querySelectorAll('canvas')].map(c => c.ariaLabel ?? '');
            return l.length === 4 && l.every(Boolean) && l; })()""")
        assert labels[0].startswith("Requests per second: 2xx, 3xx ")
        drawn = page.run("""(() => { const c = document.querySelector('canvas');
            return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean); })()""")
        assert drawn

    def test_no_panel_without_content(self, page):
        for tab in ["overview", "workers", "routes", "queue"]:
            page.click(f"#tab-{tab}")
            page.wait(f"document.getElementById('{tab}').innerText.length > 40")
            assert page.run(f"[...document.querySelectorAll('#{tab} tbody')].every(b => b.rows.length)")


@pytest.mark.alone
def test_a_request_that_is_slow_in_the_store(lab, page):
    """It is in the list with its parts, of which the store is marked; and the hops say the same."""
    product = add_product(admin_of(lab))
    ada = register(lab.port, "Ada")
    parent = new_parent(sampled=False)
    _, timing = place_while_store_is_held(lab, ada, product, parent, 0.6)
    assert timing["store"] > 400
    page.wait(f"{ROW.format('#slow')}.some(r => r.includes('{trace_id(parent)}'))")
    cells = page.run(CELLS.format("#slow", trace_id(parent)))
    assert cells["Request"][0] == "POST /v1/orders" and cells["Status"][0] == "201"
    assert cells["Worker"][0] in {"orders-1", "orders-2"}
    marked = {name for name, (_, kind) in cells.items() if "warn" in kind}
    assert marked == {"Store"}
    assert cells["Store"][0] == page.run(f"seconds({timing['store']} / 1000)")  # the same measurement
    # Of the hops, too: a write took as long as the whole request, and waiting for a worker did not.
    p99 = page.wait("""(() => {
        const rows = [...document.querySelectorAll('#hops tbody tr')];
        const of = title => rows.find(r => r.dataset.key === title).querySelector('meter').value;
        const store = of('a write in the store'), whole = of('whole request, at the gateway');
        return store > 0.4 && whole > 0.4 && {store, whole, wait: of('waiting for a worker'), queue: of('waiting in the worker')};
    })()""")
    assert max(p99["wait"], p99["queue"]) < 0.25 * p99["store"]


class TestQueue:
    def open_letters(self, page, group):
        page.click("#tab-queue")
        page.wait(f"document.querySelector('#groups tr[data-key=\"{group}\"] button')")
        page.click(f'#groups tr[data-key="{group}"] button')
        page.wait("document.querySelectorAll('#letters-list summary').length === 1")

    def left(self, lab, group):
        with Queue(lab.queue_endpoint) as events:
            return events.call("dead", group=group)["total"]

    def test_a_dead_letter_is_brought_back(self, lab, page, dead):
        group, seq = dead
        self.open_letters(page, group)
        page.click("#letters-list summary")
        text = page.text("#letters-list")
        # What is in an event is text, whatever it looks like.
        assert "<script>alert(1)</script>" in text and "<img src=x onerror=alert(1)>" in text
        assert page.run("document.querySelectorAll('#letters-list img, #letters-list script, #letters-list b b').length") == 0
        page.click("#letters-list input")
        page.click("#letters-retry")
        page.wait("document.getElementById('confirm').open")
        assert self.left(lab, group) == 1  # not before it is confirmed
        page.click("#confirm-yes")
        page.wait("document.getElementById('letters-note').textContent === '1 brought back'")
        assert self.left(lab, group) == 0
        with Member(lab.queue_endpoint, group) as member:
            assert member.take(1)[0].seq == seq

    def test_by_keyboard_alone(self, lab, page, dead):
        group, _ = dead
        page.key("4")
        page.wait(f"document.querySelector('#groups tr[data-key=\"{group}\"] button')")
        page.run(f"document.querySelector('#groups tr[data-key=\"{group}\"] button').focus()")
        page.key("Enter")
        page.wait("document.activeElement.matches('#letters-list summary')")
        page.key("Enter")
        page.wait("document.querySelector('#letters-list details').open")
        page.key("x")
        page.key("d")
        page.wait("document.getElementById('confirm').open")
        page.key("Enter")  # on No, which has the focus
        page.wait("!document.getElementById('confirm').open")
        assert self.left(lab, group) == 1
        page.key("d")
        page.wait("document.getElementById('confirm').open")
        page.key("Tab")
        page.key("Enter")
        page.wait("document.getElementById('letters-note').textContent === '1 dropped'")
        assert self.left(lab, group) == 0

    def test_it_needs_attention_until_it_is_done(self, lab, page, dead):
        """The list is that of `sluice alerts`."""
        group, _ = dead
        said = page.wait(f"""[...document.querySelectorAll('#attention-list li')].map(li => li.innerText)
            .find(text => text.includes('{group} has dead letters'))""")
        listed = {(a["alert"], a["subject"]): a for a in lab.control({"command": "alerts"})["alerts"]}
        alert = listed["SluiceQueueDeadLetters", group]
        assert said.startswith(f"{alert['alert']} {alert['summary']}: 1 events ticket, pending since "), said
        assert page.run("document.title").endswith(") Sluice")
        self.open_letters(page, group)
        page.click("#letters-list input")
        page.click("#letters-drop")
        page.click("#confirm-yes")
        page.wait(f"!document.getElementById('attention-list').innerText.includes('{group} has dead letters')")

    def test_without_a_supervisor_the_page_judges(self, lab, page, dead):
        group, _ = dead
        page.run("handlers.alerts = () => {}; state.alerts = null")
        page.wait(f"document.getElementById('attention-list').innerText.includes('{group} has 1 dead letter')")

    def test_lag(self, lab, page):
        """Of a group that does nothing, and of one that has done a part."""
        group = fresh("lag")
        with Queue(lab.queue_endpoint) as events:
            events.call("group-set", group=group, filters=[f"{group}.>"])
            try:
                events.publish([new_event(f"{group}.thing.made", n) for n in range(7)])
                page.click("#tab-queue")
                page.wait(f"({CELLS.format('#groups', group)})?.Lag[0] === '7'")
                shown = page.run(CELLS.format("#groups", group))
                assert shown["Members"] == ["0", "n bad"]
                with Member(lab.queue_endpoint, group) as member:
                    member.settle(member.take(1), ACK)
                    page.wait(f"({CELLS.format('#groups', group)})?.Lag[0] === '6'")
                    assert page.run(CELLS.format("#groups", group))["Members"] == ["1", "n"]
            finally:
                events.call("group-delete", group=group)


def test_hops_that_fail(lab, page):
    """A publish that the queue refuses is a failure of that hop, and of no other."""
    failed = "Object.fromEntries([...document.querySelectorAll('#hops tbody tr')].map(r => [r.dataset.key, r.cells[2].textContent]))"
    page.wait(f"({failed})['a publish at the queue'] === '0'")

    until = time.monotonic() + 20 * PATIENCE
    with Queue(lab.queue_endpoint) as events:
        while page.run(f"({failed})['a publish at the queue'] === '0'"):
            assert time.monotonic() < until, "it is not shown"
            with pytest.raises(Refused):
                events.publish([new_event("not a topic", 1)])
            time.sleep(0.2)
    others = page.run(failed)
    assert others.pop("a publish at the queue") != "0" and set(others.values()) == {"0"}
    assert len(others) == 10


class TestTail:
    def test_events_appear(self, lab, page):
        word = fresh("live")
        page.click("#tab-tail")
        page.click("#tail-topics")
        page.type(f"{word}.>")
        page.key("Enter")
        page.wait("document.getElementById('tail-note').textContent === 'waiting for events'")
        with Queue(lab.queue_endpoint) as events:
            wait_for(lambda: any(f"{word}.>" in s["filters"] for s in events.info()["subscriptions"]), 5, "it follows")
            events.publish([new_event(f"{word}.thing.made", {"hello": "<i>world</i>"}, key="k1"), new_event("other.thing", 1)])
            page.wait("document.querySelectorAll('#tail-list summary').length === 1")
            assert f"{word}.thing.made" in page.text("#tail-list") and "<i>world</i>" in page.text("#tail-list")
            page.click("#tail-list summary")
            page.wait("document.querySelector('#tail-list pre').offsetParent")
            page.click("#tail-stop")
            wait_for(lambda: not any(f"{word}.>" in s["filters"] for s in events.info()["subscriptions"]), 5, "it has stopped")

    def test_a_mistake_is_told(self, page):
        page.key("5")
        page.click("#tail-where")
        page.type(".data >")
        page.key("Enter")
        page.wait("document.getElementById('tail-list').innerText.includes('invalid-filter')")
        page.complaints.clear()


class TestKeys:
    def test_views_by_number_and_arrow(self, page):
        for number, name in enumerate(["overview", "workers", "routes", "queue", "tail"], 1):
            page.key(str(number))
            assert page.run(f"document.getElementById('tab-{name}').ariaSelected") == "true"
            assert page.run("document.activeElement.id") == f"tab-{name}"
            assert not page.run(f"document.getElementById('{name}').hidden")
        page.key("ArrowRight")
        assert page.run("document.activeElement.id") == "tab-overview"
        page.key("ArrowLeft")
        assert page.run("document.activeElement.id") == "tab-tail"

    def test_help_and_theme(self, page):
        page.key("?")
        page.wait("document.getElementById('help').open")
        page.key("Escape")
        page.wait("!document.getElementById('help').open")
        background = "getComputedStyle(document.body).backgroundColor"
        light = page.run(background)
        page.key("t")
        dark = page.run(background)
        assert light != dark
        page.dark(True)
        page.key("t")
        assert page.run(background) == light  # what was chosen goes before what the system wants

    def test_everything_can_be_reached(self, page):
        """Tab goes through the view, and what has the focus is seen."""
        page.key("1")
        reached = set()
        for _ in range(12):
            page.key("Tab")
            reached.add(page.run("document.activeElement.id"))
        assert {"overview", "theme", "help-button"} <= reached


class TestPhone:
    def test_nothing_is_cut_off(self, page):
        page.size(360, 740, mobile=True, scale=2)
        for number in range(1, 6):
            page.key(str(number))
            time.sleep(0.1)  # the layout follows
            wide = page.run("document.documentElement.scrollWidth")
            assert wide <= 360, (number, wide)
        low = page.run("""[...document.querySelectorAll('button:not(.link)')].filter(b => b.offsetParent)
            .filter(b => b.getBoundingClientRect().height < 36).map(b => b.id)""")
        assert low == []  # a finger hits them
        page.click("#tab-workers")
        page.wait("document.getElementById('services').innerText.includes('users-1')")

    def test_dark_is_readable(self, page):
        page.dark(True)
        ratio = page.run("""(() => {
            const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
            const of = (e, p) => light(getComputedStyle(e)[p]);
            const back = of(document.querySelector('.tiles div'), 'backgroundColor');
            return [document.querySelector('.tiles dd'), document.querySelector('.tiles dt')].map(e => {
                const [a, b] = [of(e, 'color'), back].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); });
        })()""")
        assert min(ratio) >= 4.5, ratio


class TestLoss:
    def test_a_gateway_that_comes_back(self, lab, page):
        pid = lab.kill("gateway-1")
        page.wait("document.getElementById('link').dataset.state === 'wait'")
        lab.wait_replaced("gateway-1", pid)
        page.wait("document.getElementById('link').dataset.state === 'live'", timeout=30)
        lab.wait_ready()
        # While it was away the browser could not but say so.
        assert all(kind == "log" and "ERR_" in str(what) for kind, what in page.complaints), page.complaints
        page.complaints.clear()


@pytest.mark.skipif("SLUICE_SCREENSHOT" not in os.environ, reason="makes a picture when SLUICE_SCREENSHOT names its file")
@pytest.mark.parametrize("dead", ["invoices"], indirect=True)
def test_picture(lab, page, dead):
    """A little traffic, and a picture of it."""
    admin = admin_of(lab)
    people = [register(lab.port, name) for name in ("Ada", "Bob", "Eve")]
    sku = [add_product(admin, stock=100000)["sku"] for _ in range(3)]
    ending = threading.Event()

    def shop(person, pause):
        n = 0
        while not ending.is_set():
            person.get("/v1/products")
            person.get("/v1/users/me")
            person.get("/v1/search", query={"q": "x"})
            if n % 3 == 0:
                person.order({sku[n % len(sku)]: 1})
            if n % 11 == 0:
                person.get("/v1/products/none-such")
            n += 1
            time.sleep(pause)

    crew = [threading.Thread(target=shop, args=(p, pause)) for p, pause in zip(people, (0.01, 0.02, 0.03))]
    for thread in crew:
        thread.start()
    page.size(1280, 860)
    time.sleep(40)
    picture = page.screenshot()
    ending.set()
    for thread in crew:
        thread.join()
    assert len(picture) < 150_000
    pathlib.Path(os.environ["SLUICE_SCREENSHOT"]).write_bytes(picture)
