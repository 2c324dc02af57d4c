"""How long the page of a tape takes to be made, to open in a browser, and to go one step on."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks.browser import chromium, window
from benchmarks.timing import spread, table
from tinygrad_edu.demo import make_trainers

OPENINGS = 9
# What the browser works for one key, up to the layout of what has changed, in milliseconds.
KEYS = """
    const times = [];
    const steps = Array(20).fill("ArrowRight");
    for (const key of [...steps, "b", ...steps, "End"]) {
      const start = performance.now();
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      document.querySelector("#step .pane").getBoundingClientRect();
      times.push(performance.now() - start);
    }
    return times;"""
DRAWN = "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))"


def _demo() -> tg.Tape:
    X, y, trainers = make_trainers()
    net = trainers["relu"].model
    return tg.record(lambda: tg.cross_entropy(net(X), y))


def _mnist() -> tg.Tape:
    rng = np.random.default_rng(0)
    net = tg.nn.MLP((784, 256, 128, 10), rng=0)
    X, y = rng.random((128, 784)), rng.integers(0, 10, 128)
    return tg.record(lambda: tg.cross_entropy(net(X), y))


def _scalar() -> tg.Tape:
    return tg.record(lambda a, b: np.tanh(a * b + a) * b, 0.5, -2.0)


def _long() -> tg.Tape:
    def sines(x: Any) -> Any:
        for _ in range(2500):
            x = np.sin(x) * 1.01
        return x

    return tg.record(sines, 1.0)


TAPES: dict[str, Callable[[], tg.Tape]] = {
    "a step of the demo's net": _demo,
    "784-256-128-10, 128 rows": _mnist,
    "a scalar expression": _scalar,
    "5,000 operations": _long,
}


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table, and what was measured of each page."""
    rows, figures = [], {}
    with chromium() as driver, tempfile.TemporaryDirectory() as folder:
        window(driver, 1400, 900)
        path = Path(folder) / "tape.html"
        for name, tape in TAPES.items():
            recorded = tape()
            start = time.perf_counter()
            recorded.page(path)
            made = time.perf_counter() - start
            opened = []
            for _ in range(OPENINGS):
                start = time.perf_counter()
                driver.get(path.as_uri())
                driver.execute_async_script(DRAWN)
                opened.append(time.perf_counter() - start)
            keys = driver.execute_script(KEYS)
            size = path.stat().st_size / 1000
            figures[name] = {"entries": len(recorded), "kB": size, "made": made}
            figures[name] |= {"opened": opened, "keys": keys}
            cells = [f"{len(recorded):,}", f"{size:,.0f}", f"{made:.2f}", spread(opened)]
            rows.append([name, *cells, f"{spread(keys, 1)}, at most {max(keys):.0f}"])
        if options.pictures is not None:
            _pictures(driver, path, options.pictures)
    heads = ["page of", "entries", "kB", "s to make", "s to open", "ms a key"]
    return f"{table(heads, rows)}\n\nOpened {OPENINGS} times; 42 keys.", figures


def _pictures(driver: Any, path: Path, folder: Path) -> None:
    """Screenshots for the README, of a net in plain NumPy."""
    X, y = tg.data.spiral(rng=0)

    def compute_loss(W1, b1, W2, b2):
        hidden = np.maximum(0, X @ W1 + b1)
        scores = hidden @ W2 + b2
        exp_scores = np.exp(scores)
        probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
        return -np.mean(np.log(probs[range(len(y)), y]))

    rng = np.random.default_rng(0)
    W1, W2 = 0.1 * rng.normal(size=(2, 100)), 0.1 * rng.normal(size=(100, 3))
    tg.explain(compute_loss, W1, np.zeros(100), W2, np.zeros(3), path=path)
    for name, width, height, scheme in (("page", 1400, 900, "light"), ("phone", 400, 800, "dark")):
        window(driver, width, height, scheme, scale=1.0 if width > 600 else 1.5)
        driver.get(path.as_uri())
        to_hidden = [i for i in range(60) if _now(driver, i).endswith(": dhidden")]
        _now(driver, to_hidden[0])
        driver.execute_async_script(DRAWN)
        driver.save_screenshot(str(folder / f"{name}.png"))


def _now(driver: Any, step: int) -> str:
    """Goes to a step, and what the page says of it."""
    script = """
        const slider = document.getElementById("slider");
        slider.value = arguments[0];
        slider.dispatchEvent(new Event("input"));
        return document.getElementById("now").textContent;"""
    return str(driver.execute_script(script, step))
