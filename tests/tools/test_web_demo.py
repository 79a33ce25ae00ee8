"""tools/demo/web_demo.py: the page in a real browser, and what the command line says.

The browser is a headless Chromium without the internet; what it asks the network for is read off
its own log.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_detection import TinyTask, load_tool

from vitadapter_dense import Predictor

TOOL = 'demo/web_demo.py'
driver = load_tool('pictures/chromium.py')
Browser, Page = driver.Browser, driver.Page
INPUT = '#image input[type=file]'
NASTY = '<img src=x onerror="window.hurt=1">'
NAMES = (NASTY, '${window.hurt=1}{{value}}')


def in_browser(test):
    """Marks a test that needs Chromium and the extra `demo`."""
    missing = driver.CHROMIUM is None or importlib.util.find_spec('gradio') is None
    skip = pytest.mark.skipif(missing, reason='needs chromium and the extra `demo`')
    return pytest.mark.slow(skip(test))


class CountingPredictor(Predictor):
    """Counts the images that the model has seen."""

    calls = 0

    def __call__(self, image: np.ndarray):
        self.calls += 1
        return super().__call__(image)


@dataclass(frozen=True)
class Served:
    """A page that is served."""

    address: str
    predictor: CountingPredictor
    images: Path
    uploads: Path
    asked: list[str]

    def get(self, address: str) -> bytes:
        with urllib.request.urlopen(address) as answer:
            return answer.read()


@contextmanager
def served(predictor: Predictor, **options: object) -> Iterator[str]:
    """The address of a page that a thread serves."""
    import uvicorn

    from vitadapter_dense.inference.web_page import make_app

    app = make_app(predictor, **options)
    settings = uvicorn.Config(app, log_level='error', timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    with load_tool(TOOL).listen('127.0.0.1', 0) as listening:
        thread = Thread(target=server.run, kwargs=dict(sockets=[listening]))
        thread.start()
        yield f'http://127.0.0.1:{listening.getsockname()[1]}'
        server.should_exit = True
        thread.join()


@pytest.fixture(scope='module')
def browser() -> Iterator[Browser]:
    with driver.chromium() as running:
        yield running


@pytest.fixture(scope='module')
def page_of(tiny_task: TinyTask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A detector whose classes have nasty names, with an example of one."""
    folder = tmp_path_factory.mktemp('images')
    for number in range(3):
        image = cv2.imread(str(tiny_task.data / 'val' / f'val_{number}.jpg'))
        cv2.imwrite(str(folder / f'{number}.png'), image)
    (folder / '2.png').rename(folder / f'{NASTY}.png')
    (folder / 'text.txt').write_text('no image')
    (folder / 'text.jpg').write_text('no image')
    Image.new('RGB', (101, 100)).save(folder / 'large.png')
    noise = np.random.default_rng(0).integers(256, size=(99, 99, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / 'heavy.png')
    predictor = CountingPredictor(tiny_task.work_dir, device='cpu')
    predictor.dataset_meta['classes'] = NAMES
    examples = [folder / 'text.jpg', folder / f'{NASTY}.png']
    limits = dict(max_bytes=25_000, max_pixels=10_000)
    with pytest.MonkeyPatch.context() as patch:
        uploads = tmp_path_factory.mktemp('uploads')
        patch.setenv('GRADIO_TEMP_DIR', str(uploads))
        asked: list[str] = []
        look_up = socket.getaddrinfo

        def noted(host, *rest, **options):
            asked.append(host)
            return look_up(host, *rest, **options)

        patch.setattr('socket.getaddrinfo', noted)
        options = dict(title=NASTY, examples=examples, score_thr=0.0, **limits)
        with served(predictor, **options) as address:
            yield Served(address, predictor, folder, uploads, asked)


def opened(browser: Browser, served: Served) -> Page:
    page = browser.open_page(served.address)
    page.wait_for(f"!!document.querySelector('{INPUT}')")
    return page


def drawn(page: Page, *, other_than: str = '') -> tuple[str, str]:
    """Waits for a result; its addresses as a picture and as JSON."""
    page.wait_for(
        "document.querySelectorAll('.said a').length == 2 && "
        f"document.querySelector('.said a').href != '{other_than}' && "
        "!!document.querySelector('#result img')"
    )
    return tuple(page.run("[...document.querySelectorAll('.said a')].map(link => link.href)"))


def said(page: Page) -> str:
    return page.run("document.querySelector('.said').innerText")


def shown(page: Page) -> np.ndarray:
    """The pixels of the picture on the page."""
    script = """(async () => {
        const picture = await fetch(document.querySelector('#result img').src);
        const bytes = new Uint8Array(await picture.arrayBuffer());
        return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ''));
    })()"""
    return pixels(base64.b64decode(page.run(script)))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def set_slider(page: Page, name: str, value: float) -> None:
    """As a person who types the number and leaves the field."""
    page.run(f"""(() => {{
        const field = document.querySelector('#{name} input[type=number]');
        field.value = {value};
        for (const name of ['input', 'change', 'blur'])
            field.dispatchEvent(new Event(name, {{bubbles: true}}));
    }})()""")


@in_browser
def test_an_image_is_drawn_and_drawn_anew_without_the_model(
    page_of: Served, browser: Browser
) -> None:
    file = page_of.images / '0.png'
    expected = page_of.predictor(file)
    page, calls = opened(browser, page_of), page_of.predictor.calls
    page.give_file(INPUT, file)
    png, listed = drawn(page)
    assert said(page).startswith('0.png: 80 x 64 pixels, ')
    assert np.array_equal(pixels(page_of.get(png)), expected.plot(score_thr=0.0))
    assert json.loads(page_of.get(listed)) == json.loads(json.dumps(expected.to_json()))
    legend = page.run("document.querySelector('.legend').innerText")
    assert {name in legend for name in NAMES} == {True}  # as text
    assert page.run("document.querySelector('#image img').naturalWidth") == 80 * 8
    before = shown(page)
    assert before.shape == (64 * 8, 80 * 8, 3)

    middle = round(float(np.median(expected.scores)), 2)
    set_slider(page, 'threshold', middle)
    png, _ = drawn(page, other_than=png)
    assert np.array_equal(pixels(page_of.get(png)), expected.plot(score_thr=middle))
    assert not np.array_equal(shown(page), before)

    set_slider(page, 'opacity', 1)
    png, _ = drawn(page, other_than=png)
    assert np.array_equal(pixels(page_of.get(png)), expected.plot(score_thr=middle, alpha=1.0))

    page.run("document.querySelector('#hidden input').focus()")
    page.wait_for("document.querySelectorAll('[role=option]').length == 2")
    press = "new MouseEvent('mousedown', {bubbles: true, cancelable: true})"
    page.run(f"document.querySelectorAll('[role=option]')[1].dispatchEvent({press})")
    png, listed = drawn(page, other_than=png)
    kept = expected.only(score_thr=middle, hidden=[1])
    assert np.array_equal(pixels(page_of.get(png)), kept.plot(alpha=1.0))
    assert {entry['category_name'] for entry in json.loads(page_of.get(listed))} <= {NAMES[0]}
    assert page_of.predictor.calls == calls + 1

    outside = [url for url in page.addresses() if not url.startswith((page_of.address, 'data:'))]
    assert outside == []
    assert len(page.addresses()) > 10
    assert {host for host in page_of.asked if host not in ('127.0.0.1', None)} == set()
    assert page.run('window.hurt') is None


@in_browser
def test_what_is_not_taken_gets_a_message_and_the_page_stays(
    page_of: Served, browser: Browser
) -> None:
    page, calls = opened(browser, page_of), page_of.predictor.calls
    for name, message in (
        ('text.txt', 'Invalid file type: text.txt'),
        ('text.jpg', 'Image text.jpg cannot be decoded'),
        ('heavy.png', 'exceed the maximum allowed size'),
        ('large.png', 'large.png has 101 x 100 pixels, more than this page takes: 0.01 million'),
    ):
        page.give_file(INPUT, page_of.images / name)
        page.wait_for(f"document.body.innerText.includes('{message}')")
        page.wait_for(f"!!document.querySelector('{INPUT}')")
    assert page_of.predictor.calls == calls
    # examples: the one that can be read
    assert page.run("document.querySelectorAll('#examples img').length") == 1
    page.run("document.querySelector('#examples img').closest('button').click()")
    drawn(page)
    assert said(page).startswith(f'{NASTY}.png: 80 x 64')
    page.run('document.querySelector(\'#image button[aria-label*="emove"]\').click()')
    page.wait_for("!document.querySelector('#result img')")
    assert page.run('window.hurt') is None


@in_browser
def test_two_people_at_once_each_see_their_own(page_of: Served, browser: Browser) -> None:
    pages = [opened(browser, page_of) for _ in range(2)]
    for number, page in enumerate(pages):
        page.give_file(INPUT, page_of.images / f'{number}.png')
    results = [drawn(page)[0] for page in pages]
    set_slider(pages[0], 'threshold', 1)
    results[0] = drawn(pages[0], other_than=results[0])[0]
    for number, (page, png) in enumerate(zip(pages, results, strict=True)):
        file = page_of.images / f'{number}.png'
        assert said(page).startswith(file.name)
        expected = page_of.predictor(file).plot(score_thr=(1, 0)[number])
        assert np.array_equal(pixels(page_of.get(png)), expected)
        assert np.array_equal(page_of.predictor.read(file)[..., ::-1], expected) == (number == 0)


@in_browser
def test_files_of_the_machine_and_results_of_others_are_out_of_reach(page_of: Served) -> None:
    file = page_of.images / '0.png'
    for path in (
        f'gradio_api/file={file}',
        'gradio_api/file=/etc/passwd',
        'results/none.png',
        'results/none.json',
    ):
        with pytest.raises(HTTPError, match='40[34]'):
            page_of.get(f'{page_of.address}/{path}')
    calls = page_of.predictor.calls
    named = dict(_type='gradio.FileData')
    address = f'{page_of.address}/results/none.png'
    for given in (dict(path=str(file), meta=named), dict(path=str(file)), dict(path=address), None):
        assert not accepted(page_of, given)
    (page_of.uploads / 'given.png').write_bytes(file.read_bytes())
    assert page_of.predictor.calls == calls
    assert accepted(page_of, dict(path=str(page_of.uploads / 'given.png'), meta=named))
    assert page_of.predictor.calls == calls + 1


def accepted(served: Served, given: object) -> bool:
    """Whether the page takes what a program names as an uploaded file."""
    api = f'{served.address}/gradio_api/queue'
    body = json.dumps(dict(data=[given], fn_index=0, session_hash='me')).encode()
    headers = {'Content-Type': 'application/json'}
    with urllib.request.urlopen(urllib.request.Request(f'{api}/join', body, headers)) as answer:
        event = json.loads(answer.read())['event_id']
    lines = served.get(f'{api}/data?session_hash=me').splitlines()
    messages = [json.loads(line[6:]) for line in lines if line.startswith(b'data: ')]
    (done,) = [m for m in messages if m['msg'] == 'process_completed' and m['event_id'] == event]
    return done['success']


def test_the_command_line_says_what_is_wrong_before_the_model_is_built(
    tiny_task: TinyTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = load_tool(TOOL)
    model = [str(tiny_task.config), str(tiny_task.work_dir)]
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install -e '\.\[demo\]'"):
        tool.parse_args(model)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: object())
    assert tool.parse_args(model).host == '127.0.0.1'
    with pytest.raises(SystemExit, match='no folder of examples at .*none'):
        tool.parse_args([*model, '--examples', str(tmp_path / 'none')])
    with tool.listen('127.0.0.1', 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(SystemExit, match=f'cannot listen on 127.0.0.1, port {port}: .*--port'):
            tool.main([*model, '--port', str(port)])
    with pytest.raises(OSError, match='port 70000'):
        tool.listen('127.0.0.1', 70000)
