"""A page in a real browser without a window: Debian's chromium, spoken to through two pipes as its own tools do."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path

CHROMIUM = shutil.which("chromium")
PATIENCE = 60  # seconds for an answer
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"]
FLAGS += ["--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe"]


class Browser:
    """One tab; `said` has what pages wrote to the console and every error, `asked` the address of every request."""

    def __init__(self):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        words = ["bash", "-c", command, CHROMIUM, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(words, pass_fds=(theirs_in, theirs_out), **quiet)
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._number, self._session, self._events = b"", 0, None, []
        self.said, self.asked = [], []
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def close(self):
        os.close(self._out)
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        self._profile.cleanup()

    def open(self, path, *, width=1400, height=900, dark=False):
        """Show a file, in a window of that size."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self.said.clear()
        self.asked.clear()
        self._events.clear()
        self._call("Page.navigate", url=Path(path).resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._heard(self._message())

    def do(self, script):
        """The value of a JavaScript expression in the page; an exception there is one here."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def point(self, selector):
        """Move the mouse over the middle of an element, which is scrolled into view."""
        self._mouse("mouseMoved", *self._middle(selector))

    def click(self, selector):
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, x, y, button="left", clickCount=1)

    def press(self, key):
        """A key that stands for no character, such as ArrowRight, or Enter."""
        text = {"text": "\r"} if key == "Enter" else {}
        codes = {"Enter": 13, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "Escape": 27}
        for kind in ("keyDown", "keyUp"):
            down = text if kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key], **down)

    def picture(self, *, whole=True):
        """A PNG of the page, all of it or what the window shows."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        return base64.b64decode(answer["data"])

    def printed(self):
        """The page as a PDF, as a printer gets it."""
        return base64.b64decode(self._call("Page.printToPDF")["data"])

    def tree(self):
        """What a screen reader is told: (role, name) of every node."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]

    def _clip(self, whole):
        if not whole:
            return {}
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _middle(self, selector):
        find = f"document.querySelector({json.dumps(selector)})"
        self.do(f"{find}.scrollIntoView({{block: 'center'}})")
        return self.do(f"(b => [b.left + b.width / 2, b.top + b.height / 2])({find}.getBoundingClientRect())")

    def _mouse(self, kind, x, y, **more):
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def _call(self, method, **params):
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._number:
            self._heard(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _message(self):
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], PATIENCE)[0], "the browser does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser ended"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)

    def _heard(self, event):
        method, params = event.get("method", ""), event.get("params", {})
        self._events.append(method)
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(params)
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
