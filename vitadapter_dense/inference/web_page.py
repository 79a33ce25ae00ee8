"""A page in the browser to try a model on: an image in, what the model sees in it drawn over it.

Gradio serves it, with fonts and scripts from this machine alone; a policy that goes with every
answer forbids the browser to load anything from elsewhere. The model runs once an image: threshold,
classes and opacity draw its result anew. Gradio is the optional extra `demo`.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import gradio as gr
from fastapi import FastAPI, HTTPException, Query, Response
from gradio.utils import get_upload_folder
from jinja2 import Environment, StrictUndefined
from mmengine.logging import print_log
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.inference.web_results import (
    Choice,
    ImageError,
    Result,
    ResultStore,
    compute,
    thumbnail,
)
from vitadapter_dense.reports.picture_style import ALPHA

MOST_EXAMPLES = 60
GONE = 'This result is no longer kept: give the image again.'
FAILED = 'The model failed on {name}: the terminal that this page was started from says why.'
# Of an address: at module scope, where FastAPI finds what an annotation names.
Share = Annotated[float, Query(ge=0, le=1)]
Numbers = Annotated[list[int], Query()]
_LAST = dict(trigger_mode='always_last', api_visibility='private')
# Nothing from elsewhere; Gradio's own page has styles and scripts in it.
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'"
)
STYLE = """
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; list-style: none; margin: 0; padding: 0 }
.legend i { display: inline-block; width: 14px; height: 14px; margin-right: 6px;
            border: 1px solid black; vertical-align: -2px }
.said { overflow-wrap: anywhere }
.refused { color: #b00020; font-weight: bold }
.dark .refused { color: #ff8a80 }
"""
_TEXTS = Environment(autoescape=True, undefined=StrictUndefined)
_HINT = (
    '<p class="said" role="status">Drop an image on the left{}, and see what the model finds.</p>'
)
_TITLE = _TEXTS.from_string('<h1>{{ title }}</h1>')
_REFUSED = _TEXTS.from_string('<p class="said refused" role="alert">{{ message }}</p>')
_SAID = _TEXTS.from_string(
    '<p class="said" role="status">{{ name }}: {{ width }} x {{ height }} pixels, '
    '{{ "%.2f"|format(seconds) }} s on {{ device }}. '
    '<a href="{{ png }}" target="_blank">Picture in full size</a> · '
    '<a href="{{ json }}" target="_blank">JSON</a></p>'
)
_LEGEND = _TEXTS.from_string(
    '<ul class="legend">{% for entry in entries %}<li>'
    '<i style="background: rgb{{ entry.colour }}"></i>{{ entry.name }} {{ entry.amount }}'
    '</li>{% else %}<li>nothing found</li>{% endfor %}</ul>'
)


class _WithPolicy:
    """Adds the policy to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                headers['Content-Security-Policy'] = POLICY
                headers['X-Content-Type-Options'] = 'nosniff'
            await send(message)

        await self.app(scope, receive, send_with_policy)


def make_app(
    predictor: Predictor,
    *,
    title: str,
    examples: Sequence[Path] = (),
    score_thr: float = 0.3,
    max_bytes: int = 20_000_000,
    max_pixels: int = 50_000_000,
) -> FastAPI:
    """The page and what it links to, for a server such as uvicorn.

    Args:
        predictor: of a detector, a segmentor or a panoptic model.
        title: of the page.
        examples: images that can be chosen in place of a file; those that cannot be read, and all
            after the first 60, are left out.
        score_thr: what the page begins with.
        max_bytes: of a file that is taken.
        max_pixels: of an image that is taken.
    """
    store = ResultStore()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_downloads(app, store)
    page = _Page(predictor, store, max_pixels)
    mounted = gr.mount_gradio_app(
        app,
        page.build(title, examples, score_thr),
        path='/',
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        show_error=False,
        max_file_size=max_bytes,
        theme=gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace']),
        css=STYLE,
    )
    mounted.add_middleware(_WithPolicy)
    return mounted


def _add_downloads(app: FastAPI, store: ResultStore) -> None:
    """Adds the results in full size, as pictures and as JSON."""

    def found(token: str) -> Result:
        result = store.get(token)
        if result is None:
            raise HTTPException(404, GONE)
        return result

    def named(name: str) -> dict[str, str]:
        return {'Content-Disposition': f"inline; filename*=UTF-8''{quote(name, safe='')}"}

    @app.get('/results/{token}.png')
    def picture(
        token: str,
        score_thr: Share = 0.0,
        opacity: Share = ALPHA,
        hidden: Numbers = (),
    ) -> Response:
        result = found(token)
        png = result.png(Choice(score_thr, tuple(hidden), opacity))
        headers = named(f'{Path(result.name).stem}.png')
        return Response(png, media_type='image/png', headers=headers)

    @app.get('/results/{token}.json')
    def entries(token: str, score_thr: Share = 0.0, hidden: Numbers = ()) -> Response:
        result = found(token)
        text = json.dumps(result.entries(Choice(score_thr, tuple(hidden), 0.0)))
        headers = named(f'{Path(result.name).stem}.json')
        return Response(text, media_type='application/json', headers=headers)


class _Page:
    """What is on the page, and what happens when something on it is touched."""

    def __init__(self, predictor: Predictor, store: ResultStore, max_pixels: int) -> None:
        self.predictor = predictor
        self.store = store
        self.max_pixels = max_pixels
        self.examples: list[Path] = []

    def build(self, title: str, examples: Sequence[Path], score_thr: float) -> gr.Blocks:
        """Lays the page out."""
        pictures = {path: thumbnail(path) for path in examples[:MOST_EXAMPLES]}
        self.examples = [path for path, picture in pictures.items() if picture]
        gallery = [(pictures[path], path.name) for path in self.examples]
        hint = _HINT.format(' or click an example' if gallery else '')
        classes = [(name, number) for number, name in enumerate(self.predictor.names)]
        with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, 1800)) as blocks:
            token = gr.State('')
            gr.HTML(_TITLE.render(title=title))
            with gr.Row():
                with gr.Column(scale=1):
                    sources = ['upload', 'clipboard']
                    image = gr.Image(
                        label='Image', sources=sources, height=240, buttons=[], elem_id='image'
                    )
                    _guard(image)
                    gallery = gr.Gallery(
                        gallery,
                        label='Examples',
                        elem_id='examples',
                        columns=3,
                        height=240,
                        allow_preview=False,
                        interactive=False,
                        visible=bool(gallery),
                        buttons=[],
                    )
                    threshold = gr.Slider(
                        0,
                        1,
                        score_thr,
                        step=0.01,
                        label='Lowest score',
                        elem_id='threshold',
                        visible=False,
                    )
                    opacity = gr.Slider(0, 1, ALPHA, step=0.01, label='Opacity', elem_id='opacity')
                    hidden = gr.Dropdown(
                        classes,
                        multiselect=True,
                        label='Classes to hide',
                        elem_id='hidden',
                        visible=bool(classes),
                    )
                with gr.Column(scale=2):
                    said = gr.HTML(hint)
                    picture = gr.Image(
                        label='Result',
                        format='png',
                        interactive=False,
                        buttons=['fullscreen'],
                        elem_id='result',
                    )
                    legend = gr.HTML()
            found = [token, image, threshold, said, picture, legend]
            model = dict(outputs=found, concurrency_id='model', **_LAST)
            drawing = dict(
                fn=self.draw,
                inputs=[token, threshold, hidden, opacity],
                outputs=[said, picture, legend],
                show_progress='hidden',
                concurrency_id='drawing',
                **_LAST,
            )
            # Drawn in a step of its own, with what the controls say when the model is done.
            image.upload(self.look_at_file, image, **model).success(**drawing)
            gallery.select(self.look_at_example, None, **model).success(**drawing)
            image.clear(lambda: _nothing(hint), None, found, queue=False, **_LAST)
            gr.on([threshold.change, hidden.change, opacity.change], **drawing)
        return blocks

    def look_at_file(self, path: str) -> list[Any]:
        """Runs the model on a file that was dropped."""
        return self._look_at(Path(path))

    def look_at_example(self, chosen: gr.SelectData) -> list[Any]:
        """Runs the model on an example that was clicked."""
        return self._look_at(self.examples[chosen.index])

    def _look_at(self, path: Path) -> list[Any]:
        try:
            result = compute(self.predictor, path, max_pixels=self.max_pixels)
        except ImageError as error:
            return _nothing(_REFUSED.render(message=str(error)))
        except Exception:  # the page stays; who runs the server needs to know
            print_log(traceback.format_exc(), logger='current', level=logging.ERROR)
            return _nothing(_REFUSED.render(message=FAILED.format(name=path.name)))
        has_scores = gr.update(visible=result.has_scores)
        return [self.store.add(result), result.shown.image, has_scores, *[gr.skip()] * 3]

    def draw(
        self, token: str, score_thr: float, hidden: Sequence[int], opacity: float
    ) -> list[Any]:
        """Draws a result anew."""
        if not token:
            return [gr.skip()] * 3
        result = self.store.get(token)
        if result is None:
            return [_REFUSED.render(message=GONE), None, '']
        choice = Choice(score_thr, tuple(hidden or ()), opacity)
        words = urlencode(
            dict(score_thr=score_thr, opacity=opacity, hidden=choice.hidden), doseq=True
        )
        height, width = result.full.image.shape[:2]
        said = _SAID.render(
            name=result.name,
            width=width,
            height=height,
            seconds=result.seconds,
            device=self.predictor.device,
            png=f'results/{token}.png?{words}',
            json=f'results/{token}.json?{words}',
        )
        return [said, result.draw(choice), _LEGEND.render(entries=result.legend(choice))]


def _guard(image: gr.Image) -> None:
    """Makes a component take the very file that was uploaded, and no other file or address.

    Gradio's own would decode the file and write it anew. In a mounted page it also copies whatever
    path or address a request names, where it is to check that path.
    """

    move, move_async = image.move_resource_to_block_cache, image.async_move_resource_to_block_cache

    def uploaded(path: str) -> str:
        folder = Path(get_upload_folder()).resolve()
        if not Path(path).resolve().is_relative_to(folder):
            raise gr.Error('Only files that were given to this page are taken.')
        return path

    async def move_uploaded(path: str) -> str:
        return await move_async(uploaded(path))

    image.move_resource_to_block_cache = lambda path: move(uploaded(path))
    image.async_move_resource_to_block_cache = move_uploaded
    image.preprocess = lambda payload: uploaded(payload.path)


def _nothing(said: str) -> list[Any]:
    """No result, and why."""
    return ['', None, gr.skip(), said, None, '']
