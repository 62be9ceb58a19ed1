"""A sheet of rectangles, lines and words, written as SVG by hand or as PNG by Pillow.

Pictures of schedules are drawn on it once and come out in both forms. SVG text is the same bytes every time.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from sysgym.core.errors import SettingError
from sysgym.core.files import atomic_write

PAPER, INK, FAINT = "#ffffff", "#333333", "#dddddd"
COLOURS = ("#4269d0", "#efb118", "#3ca951", "#ff725c", "#a463f2", "#6cc5b0", "#9c6b4e", "#97bbf5")
TEXT_SIZE = 12
ENDINGS = (".svg", ".png")


@dataclass
class Sheet:
    """What is to be drawn, in order; positions in pixels from the upper left corner.

    Attributes:
        width: Of the sheet.
        height: Of the sheet.
        title: What the sheet shows, for who can't see it.
    """

    width: int
    height: int
    title: str
    rectangles: list[tuple[float, float, float, float, str]] = field(default_factory=list)
    lines: list[tuple[list[tuple[float, float]], str, float]] = field(default_factory=list)
    words: list[tuple[float, float, str, str]] = field(default_factory=list)

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle."""
        self.rectangles.append((x, y, width, height, colour))

    def line(self, points: list[tuple[float, float]], colour: str = INK, width: float = 1.5) -> None:
        """A line through points."""
        self.lines.append((points, colour, width))

    def word(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """A text whose baseline begins, has its middle or ends ("start", "middle", "end") at a point."""
        self.words.append((x, y, text, anchor))

    def svg(self) -> str:
        """The sheet as SVG text."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" font-family="system-ui, sans-serif" '
            f'font-size="{TEXT_SIZE}"><title>{escape(self.title)}</title>'
            f'<rect width="{self.width}" height="{self.height}" fill="{PAPER}"/>'
        ]
        parts += [
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{colour}"/>'
            for x, y, w, h, colour in self.rectangles
        ]
        for points, colour, width in self.lines:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>')
        parts += [
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{escape(text)}</text>'
            for x, y, text, anchor in self.words
        ]
        return "\n".join([*parts, "</svg>\n"])

    def png(self, scale: int = 2) -> bytes:
        """The sheet as PNG, `scale` pixels to one of the sheet's."""
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  only who wants a PNG waits for it

        image = Image.new("RGB", (self.width * scale, self.height * scale), PAPER)
        draw = ImageDraw.Draw(image)
        for x, y, w, h, colour in self.rectangles:
            draw.rectangle([x * scale, y * scale, max(x, x + w - 0.5) * scale, max(y, y + h - 0.5) * scale], colour)
        for points, colour, width in self.lines:
            draw.line([(x * scale, y * scale) for x, y in points], colour, max(1, round(width * scale)))
        font = ImageFont.load_default(TEXT_SIZE * scale)
        anchors = {"start": "ls", "middle": "ms", "end": "rs"}
        for x, y, text, anchor in self.words:
            draw.text((x * scale, y * scale), text, INK, font, anchors[anchor])
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()

    def write(self, path: Path) -> None:
        """Write the sheet in the form that the ending of the path names.

        Raises:
            SettingError: The ending is neither .svg nor .png.
        """
        require_picture(path)
        with atomic_write(path, "wb") as handle:
            handle.write(self.svg().encode() if path.suffix.lower() == ".svg" else self.png())


def require_picture(path: Path) -> None:
    """Raise `SettingError` unless a path ends as a picture does."""
    if path.suffix.lower() not in ENDINGS:
        raise SettingError(f"{path}: a picture ends in .svg or .png")
