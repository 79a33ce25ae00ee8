"""A headless Chromium for pictures and tests, driven through Chrome's DevTools protocol.

It talks over two pipes and needs no package: a message is JSON that ends in a zero byte.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
#: Without the internet, as far as a browser can be: every name but this machine's is unknown.
FLAGS = (
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--hide-scrollbars',
    '--no-first-run',
    '--remote-debugging-pipe',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
)


class Browser:
    """A running Chromium; `open_page` gives its tabs."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._numbers = itertools.count(1)
        self._rest = b''
        self.pages: dict[str, Page] = {}

    def open_page(self, address: str, *, size: tuple[int, int] = (1280, 900)) -> Page:
        """A tab of its own, without cookies and storage of the others, on its way to a page."""
        context = self.send('Target.createBrowserContext')['browserContextId']
        target = self.send('Target.createTarget', url='about:blank', browserContextId=context)
        attached = self.send('Target.attachToTarget', targetId=target['targetId'], flatten=True)
        page = self.pages[attached['sessionId']] = Page(self, attached['sessionId'])
        for domain in ('Page', 'Network', 'Runtime', 'DOM', 'Log'):
            page.send(f'{domain}.enable')
        screen = dict(width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)
        page.send('Emulation.setDeviceMetricsOverride', **screen)
        page.send('Page.navigate', url=address)
        return page

    def send(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer to a command; what happens meanwhile goes to the pages.

        Raises:
            RuntimeError: the browser refuses the command.
        """
        number = next(self._numbers)
        message = dict(id=number, method=method, params=parameters)
        message |= {} if session is None else dict(sessionId=session)
        data = json.dumps(message).encode() + b'\0'
        while data:
            data = data[os.write(self._commands, data) :]
        while True:
            answer = self._read()
            if answer.get('id') == number:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']
            if answer.get('sessionId') in self.pages:
                self.pages[answer['sessionId']].events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b'\0' not in self._rest:
            data = os.read(self._answers, 2**20)
            if not data:
                raise RuntimeError('the browser has ended')
            self._rest += data
        line, _, self._rest = self._rest.partition(b'\0')
        return json.loads(line)


class Page:
    """A tab, with all that its network and its console have told."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command, as of `Browser.send`."""
        return self._browser.send(method, session=self._session, **parameters)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited.

        Raises:
            RuntimeError: it throws.
        """
        options = dict(returnByValue=True, awaitPromise=True)
        done = self.send('Runtime.evaluate', expression=script, **options)
        if 'exceptionDetails' in done:
            raise RuntimeError(f'{script}: {done["exceptionDetails"]}')
        return done['result'].get('value')

    def wait_for(self, script: str, *, seconds: float = 180) -> Any:
        """The value of an expression as soon as it is true.

        Raises:
            TimeoutError: it has not become true.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        text = self.run('document.body.innerText')
        raise TimeoutError(f'not within {seconds} s: {script}\nThe page says:\n{text}')

    def give_file(self, selector: str, path: Path) -> None:
        """Chooses a file for an input, as a person does in the dialog."""
        root = self.send('DOM.getDocument')['root']['nodeId']
        node = self.send('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.send('DOM.setFileInputFiles', nodeId=node, files=[str(path)])

    def addresses(self) -> list[str]:
        """Whatever the page has asked the network for, answered or not."""
        self.run('1')  # reads what is pending
        asked = [e['params'] for e in self.events if e['method'] == 'Network.requestWillBeSent']
        sockets = [e['params'] for e in self.events if e['method'] == 'Network.webSocketCreated']
        return [e['request']['url'] for e in asked] + [e['url'] for e in sockets]

    def screenshot(self) -> bytes:
        """What the window shows, as a PNG."""
        return base64.b64decode(self.send('Page.captureScreenshot')['data'])


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Starts Chromium; ends it, all its processes and its profile after.

    Raises:
        FileNotFoundError: it is not installed.
    """
    if CHROMIUM is None:
        raise FileNotFoundError('no chromium on the PATH: apt install chromium')
    theirs, commands = os.pipe()
    answers, ours = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, theirs, 3), (os.POSIX_SPAWN_DUP2, ours, 4)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [CHROMIUM, *FLAGS, f'--user-data-dir={profile}', 'about:blank']
        quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
        process = os.posix_spawn(
            CHROMIUM, words, os.environ, file_actions=[*actions, *quiet], setpgroup=0
        )
        os.close(theirs)
        os.close(ours)
        try:
            yield Browser(commands, answers)
        finally:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(commands)
            os.close(answers)
