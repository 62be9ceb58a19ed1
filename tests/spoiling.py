"""Files that were sound: a hypothesis strategy that replaces a few of their bytes."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = st.sampled_from(
    [
        b"",
        b"-1",
        b"nan",
        b"1e400",
        b"9" * 30,
        b'"',
        b",",
        b"\t",
        b"\n",
        b" ",
        b"{",
        b"]",
        b"\xff",
        b"\x00",
        b"null",
        b"-0.5",
    ]
)


@st.composite
def spoilt(draw, content):
    """The content with one to four places replaced by other bytes."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        content = content[:start] + draw(WORDS | st.binary(max_size=6)) + content[end:]
    return content
