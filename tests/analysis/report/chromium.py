"""A headless Chromium for tests: one process, driven through a pipe by its DevTools protocol."""

import json
import os
import select
import shutil
import subprocess
import time
from base64 import b64decode

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars",
    "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-dev-shm-usage",
    "--disable-component-update", "--disable-sync", "--mute-audio", "--force-color-profile=srgb",
)  # fmt: skip


def found():
    """The path of a Chromium, or None."""
    return next((place for name in NAMES if (place := shutil.which(name))), None)


class Chromium:
    """The process. Answers come in the order of the questions; events in between are kept."""

    def __init__(self, profile, seconds=60):
        ask, self._out = os.pipe()
        self._in, answer = os.pipe()
        command = [found(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        fds = f'exec "$@" 3<&{ask} 4>&{answer}'
        self._process = subprocess.Popen(
            ["bash", "-c", fds, "bash", *command],
            pass_fds=(ask, answer),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ask)
        os.close(answer)
        self._left, self._number, self._seconds = b"", 0, seconds
        self.events = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def close(self):
        self.ask("Browser.close")
        self._process.wait(timeout=20)
        os.close(self._in)
        os.close(self._out)

    def tell(self, method, **params):
        """Ask the page."""
        return self.ask(method, session=self._session, **params)

    def ask(self, method, session=None, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._until(lambda said: said.get("id") == self._number, method)

    def wait_for(self, event):
        """Until an event has come since the events were last cleared."""
        if not any(said["method"] == event for said in self.events):
            self._until(lambda said: said.get("method") == event, event)

    def _until(self, wanted, words):
        end = time.monotonic() + self._seconds
        while True:
            said = self._next(end, words)
            if "method" in said:
                self.events.append(said)
            if wanted(said):
                if "error" in said:
                    raise RuntimeError(f"{words}: {said['error']['message']}")
                return said.get("result", {})

    def _next(self, end, words):
        while b"\0" not in self._left:
            if not select.select([self._in], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium did not answer {words}")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError("Chromium is gone")
            self._left += part
        one, self._left = self._left.split(b"\0", 1)
        return json.loads(one)

    def open(self, url, width, dark=False, scripts=True, height=900, media=""):
        """Open a page as a screen of that width shows it."""
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", media=media, features=scheme)
        self.tell("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        self.tell("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def value(self, code):
        """What an expression gives in the page; a promise is waited for."""
        said = self.tell("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise RuntimeError(said["exceptionDetails"].get("exception", {}).get("description", said))
        return said["result"].get("value")

    def complaints(self):
        """Errors and warnings of the page's scripts and of the browser, and requests beyond its own file."""
        told = [str(said["params"]) for said in self.events if _complains(said)]
        asked = [
            said["params"]["request"]["url"]
            for said in self.events
            if said["method"] == "Network.requestWillBeSent"
        ]
        return told + [url for url in asked if not url.startswith(("file:", "data:", "about:"))]

    def picture(self, width=None, height=None):
        """The page as a PNG, as long as it is."""
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {
            "x": 0,
            "y": 0,
            "width": width or size["width"],
            "height": height or size["height"],
            "scale": 1,
        }
        shot = self.tell("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return b64decode(shot["data"])


def _complains(said):
    params = said["params"]
    if said["method"] == "Runtime.exceptionThrown":
        return True
    if said["method"] == "Runtime.consoleAPICalled":
        return params["type"] in ("error", "warning", "assert")
    return said["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning")
