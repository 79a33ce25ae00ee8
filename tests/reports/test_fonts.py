"""Class names in letters that the usual fonts lack: drawn by a font that has them, or told once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from vitadapter_dense.reports import fonts
from vitadapter_dense.reports.plots import name_ticks

CAT, DOG = '猫', '犬'


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two more fonts, of one letter each: a full square, and nothing readable."""
    builder = pytest.importorskip('fontTools.fontBuilder').FontBuilder(1000, isTTF=True)
    pens = pytest.importorskip('fontTools.pens.ttGlyphPen')
    builder.setupGlyphOrder(['.notdef', 'cat'])
    builder.setupCharacterMap({ord(CAT): 'cat'})
    glyphs = {}
    for name, side in (('.notdef', 10), ('cat', 900)):
        pen = pens.TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, side), (side, side), (side, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({'.notdef': (1000, 0), 'cat': (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable(dict(familyName='Only Cats', styleName='Regular'))
    builder.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=100)
    builder.setupPost()
    builder.save(tmp_path / 'cats.ttf')
    (tmp_path / 'broken.ttf').write_bytes(b'no font')
    files = [str(file) for file in tmp_path.iterdir()]
    monkeypatch.setattr(font_manager, 'findSystemFonts', lambda: files)
    monkeypatch.setattr(fonts, '_told', set())
    fonts._files_for.cache_clear()
    yield tmp_path
    fonts._files_for.cache_clear()


def test_pictures_are_written_in_a_font_that_has_the_letters(machine: Path) -> None:
    square = np.asarray(fonts.picture_font(CAT, 20).getmask(CAT, mode='L')).reshape(-1)
    assert square.mean() > 200  # and no frame, which stands for what is missing
    usual = fonts.picture_font('cat', 20)
    assert usual is fonts.picture_font('dog', 20)
    assert Path(fonts.picture_font('Straße', 20).path).name == 'DejaVuSans.ttf'


def test_plots_fall_back_on_it(machine: Path, recwarn: pytest.WarningsRecorder) -> None:
    figure = Figure()
    axes = figure.subplots()
    name_ticks(axes.yaxis, [0, 1], ['собака', f'cat {CAT}'])
    figure.draw_without_rendering()
    assert axes.get_yticklabels()[1].get_fontfamily()[-1] == 'Only Cats'
    assert not [str(one.message) for one in recwarn if 'Glyph' in str(one.message)]


def test_what_no_font_has_is_told_once(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(fonts, 'print_log', lambda message, **_: said.append(message))
    for _ in range(2):
        fonts.picture_font(f'{DOG}{CAT} 0.5', 20)
        fonts.plot_families([DOG, 'x'])
    (message,) = said
    assert DOG in message
    assert CAT not in message
    assert 'fonts-noto-cjk' in message
