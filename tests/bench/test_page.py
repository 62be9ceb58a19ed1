"""The report as a browser shows it: drawn in light and dark, sorted by a click, within the width of a screen."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from sysgym.bench.report import render_report
from tests.bench.conftest import make_record

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=2000",
)  # fmt: skip
DARK, LIGHT = "--blink-settings=preferredColorScheme=0", "--blink-settings=preferredColorScheme=1"
WIDTH, HEIGHT = 1280, 1400
NOISE = np.random.default_rng(4).pareto(2.2, 30) + 1
BOUND = {"kind": "bound", "value": 0.0}
PROBE = """
<script>
const head = [...document.querySelectorAll("table.sortable th button")].find((b) => b.textContent.startsWith("COLUMN"));
for (let k = 0; k < CLICKS; k++) head.click();
document.title = `${document.documentElement.scrollWidth} of ${document.documentElement.clientWidth}`;
</script>
"""

pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="no chromium here: apt install chromium"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    factors = {"random": 2.0, "sjf": 1.0, "fcfs": 1.5, "nearly_sjf": 1.001}
    records = [
        make_record(name, NOISE * factor * (k + 1), name=f"Queue {k}", run=f"{k}/{name}", bound=BOUND)
        for k in range(2)
        for name, factor in factors.items()
    ]
    records += [
        make_record("PPO", NOISE * 0.7 * (k + 1), seed=0, name=f"Queue {k}", run=f"{k}", bound=BOUND) for k in range(2)
    ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_report(records), encoding="utf-8")
    return path


def browse(path, tmp_path, *arguments):
    """Run the browser, which may use nothing but the page, and give what it prints."""
    made = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments, path.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    return made.stdout.decode()


def pixels(path, tmp_path, scheme):
    """The page as drawn, uint8 of shape (HEIGHT, WIDTH, 3)."""
    from PIL import Image

    picture = tmp_path / "page.png"
    browse(path, tmp_path, f"--screenshot={picture}", f"--window-size={WIDTH},{HEIGHT}", scheme)
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB"))


def share_near(drawn, colour):
    """Share of the pixels within a few levels of a colour."""
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return float((np.abs(drawn.astype(int) - wanted).max(axis=2) <= 6).mean())


@pytest.mark.parametrize(
    ("scheme", "paper", "learned", "best"),
    [(LIGHT, "#fbfaf8", "#d9762b", "#3f6fb5"), (DARK, "#14171b", "#f0964c", "#6f9fe8")],
    ids=["light", "dark"],
)
def test_the_page_is_drawn_in_the_readers_colours(page, tmp_path, scheme, paper, learned, best):
    drawn = pixels(page, tmp_path, scheme)
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert 0.5 < share_near(drawn, paper) < 0.97  # mostly paper, and not only paper
    overview = drawn[:420]  # who wins is seen at once: dots of the trained policy and of the best heuristic
    assert share_near(overview, learned) > 1e-4 and share_near(overview, best) > 1e-4
    written = np.abs(drawn.astype(int) - drawn[2, 2].astype(int)).max(axis=2) > 60
    for top in range(0, HEIGHT, 350):
        assert written[top : top + 350].mean() > 0.005  # every part of the screen has something to read


@pytest.mark.parametrize(
    ("column", "clicks", "order", "width"),
    [
        ("policy", 1, ["fcfs", "nearly_sjf", "PPO", "random", "sjf"], 390),
        ("score", 1, ["random", "fcfs", "nearly_sjf", "sjf", "PPO"], WIDTH),
        ("score", 2, ["PPO", "sjf", "nearly_sjf", "fcfs", "random"], WIDTH),
        ("training", 1, ["PPO"], 820),  # cells without a value come last
    ],
)
def test_a_click_on_a_heading_sorts_the_table(page, tmp_path, column, clicks, order, width):
    probe = PROBE.replace("COLUMN", column).replace("CLICKS", str(clicks))
    path = tmp_path / "probe.html"
    path.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{probe}</body>"), encoding="utf-8")
    dumped = browse(path, tmp_path, "--dump-dom", f"--window-size={width},{HEIGHT}")
    table = dumped[dumped.index('<table class="sortable"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    names = re.findall(r'<span class="dot \w+"></span>([^<]+)</td>', body)
    assert names[: len(order)] == order and len(names) == 5
    assert f'aria-sort="{"descending" if clicks == 2 else "ascending"}"' in table[: table.index("<tbody>")]
    needed, there = map(int, re.search(r"<title>(\d+) of (\d+)</title>", dumped).groups())
    assert needed <= there  # nothing sticks out of a laptop's screen, nor a telephone's
