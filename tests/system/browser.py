# SPDX-License-Identifier: MIT
# A headless Chromium that a test drives by the DevTools protocol, over the two pipes of
# --remote-debugging-pipe: messages are JSON, ended by a NUL. What the page complains of (errors,
# violations of its security policy, requests that failed) is kept in `complaints`.
import base64
import fcntl
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from suite import PATIENCE

PROGRAM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)

KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "ArrowRight": (39, ""), "ArrowLeft": (37, "")}


class Browser:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="sluice-browser-")
        self.complaints = []
        self.number, self.answers, self.changed = 0, {}, queue.Queue()
        # Away from 3 and 4, where Chromium wants them.
        ends = [os.pipe(), os.pipe()]
        (to_read, to_write), (from_read, from_write) = (
            [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in pair] for pair in ends
        )
        for pair in ends:
            for fd in pair:
                os.close(fd)

        def hand_over():
            os.dup2(to_read, 3)
            os.dup2(from_write, 4)

        self.process = subprocess.Popen(
            [
                PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking",
                "--disable-component-update", "--hide-scrollbars", "--force-color-profile=srgb",
                "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=hand_over, pass_fds=(3, 4), start_new_session=True,
        )
        os.close(to_read)
        os.close(from_write)
        self.out = os.fdopen(to_write, "wb", buffering=0)
        self.reader = threading.Thread(target=self._read, args=(from_read,), daemon=True)
        self.reader.start()
        self.session = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"]:
            self(f"{domain}.enable")
        self.size(1280, 900)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.out.close()  # it ends by itself when nobody drives it
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own: nobody else's
            self.process.wait()
        self.reader.join()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _read(self, fd):
        rest = b""
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            while chunk := pipe.read(1 << 20):
                *messages, rest = (rest + chunk).split(b"\0")
                for message in messages:
                    self._take(json.loads(message))

    def _take(self, message):
        if "id" in message:
            self.answers[message["id"]] = message
            self.changed.put(message["id"])
            return
        method, given = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(("exception", given["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(("console", given["args"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.complaints.append(("log", given["entry"]))
        elif method == "Audits.issueAdded" and given["issue"]["code"] != "PerformanceIssue":
            self.complaints.append(("issue", given["issue"]))

    def __call__(self, method, **params):
        """Calls a method and returns its result."""
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        while number not in self.answers:
            self.changed.get(timeout=30 * PATIENCE)
        answer = self.answers.pop(number)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def run(self, script):
        """The value of an expression in the page."""
        answer = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, (script, answer)
        return answer["result"].get("value")

    def wait(self, script, timeout=10):
        """Until the expression is true; returns it."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            value = self.run(script)
            if value or value == {}:  # what an element becomes
                return value
            assert time.monotonic() < deadline, (script, self.text(), self.complaints)
            time.sleep(0.03)

    def text(self, selector="body"):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def size(self, width, height, mobile=False, scale=1):
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=mobile,
        )

    def dark(self, dark):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url):
        self("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def key(self, key, text=None):
        code, default = KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key))
        text = default if text is None else text
        self("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        self("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text):
        self("Input.insertText", text=text)

    def click(self, selector):
        """A real click in its middle: what is covered or not in view is not clicked."""
        at = self.wait(
            f"""(() => {{
                const e = document.querySelector({json.dumps(selector)});
                if (!e || e.disabled) return null;
                e.scrollIntoView({{block: "center"}});
                const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
                const hit = document.elementFromPoint(x, y);
                return hit && (e.contains(hit) || hit.contains(e)) ? [x, y] : null;
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self(
                "Input.dispatchMouseEvent",
                type=kind, x=at[0], y=at[1], button="left", clickCount=1,
            )

    def screenshot(self):
        return base64.b64decode(self("Page.captureScreenshot", format="png")["data"])
