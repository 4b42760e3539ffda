"""The report of a finished workflow: what it holds, and what a browser shows of it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from browser import HEIGHT, WIDTH, Browser
from run_snakemake import PROFILE, ROOT, snakemake

FIGURES = {
    "Figures": ["fig. 01: schedules", "fig. 02: device", "fig. 03: convergence",
                "fig. 04: differences", "fig. 05: speedup", "fig. 10: ablation",
                "fig. 15: price", "fig. 16: staleness"],
    "Theory": ["fig. 06: slopes", "fig. 07: floor", "fig. 08: price", "fig. 09: targets"],
    "Hardware": ["fig. 11: hardware_speedup", "fig. 12: hardware_target",
                 "fig. 13: hardware_stages", "fig. 14: hardware_plane"],
    "Devices": ["linear-tau0.6"],
}  # fmt: skip
TABLES = {
    "Claims": ["answers", "checks", "claims", "headline"],
    "Tables": ["table 1", "table 2"],
    "Theory": ["table 3"],
}
NOTEBOOK = {"Notebook": ["single runs"]}
CHROMIUM = shutil.which("chromium")
SCREENSHOTS = ROOT / "results" / "screenshots"

# Snakemake's own page says these about the libraries that it brings.
ITS_OWN = re.compile(r"cdn\.tailwindcss\.com should not be used|The input spec uses Vega-Lite")


def build(finished: Path, *targets: str) -> Path:
    """Build the report of some targets beside the results."""
    page = finished / "report.html"
    style = str(ROOT / "workflow" / "report" / "style.css")
    result = snakemake(
        finished, "--report", str(page), "--report-stylesheet", style,
        profile=PROFILE, targets=targets,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return page


def test_report_holds_every_figure_and_table(finished):
    """Each under its category and label, with a caption."""
    content = build(finished).read_text()
    results = json.loads(re.search(r"^\s*var results = (\{.*\});$", content, re.M)[1])
    categories = json.loads(re.search(r"^\s*var categories = (\{.*\});$", content, re.M)[1])
    expected = {name: FIGURES.get(name, []) + TABLES.get(name, []) for name in FIGURES | TABLES}
    assert {
        category: sorted(results[path]["labels"]["result"] for path in paths["Other"])
        for category, paths in categories.items()
    } == expected
    for path, result in results.items():
        assert re.fullmatch(r"\s*<p>.{40,}</p>\s*", result["caption"], re.S), path
        assert result["data_uri"].startswith(
            "data:image/png" if path.endswith(".png") else "data:text/html"
        )


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
def test_browser_shows_the_report_and_the_notebook(finished, tmp_path):
    """Offline, without an error on the console; every figure, table and graph is drawn."""
    result = snakemake(finished, "--quiet", "rules", profile=PROFILE, targets=("notebook",))
    assert result.returncode == 0, result.stdout + result.stderr
    page = build(finished, "all", "notebook")
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    with Browser(CHROMIUM, tmp_path / "user") as browser:
        browser.open(page)
        browser.wait_for("document.querySelector('#rulegraph canvas')?.width")
        assert "Start with the claims" in browser.evaluate("document.body.innerText")
        browser.screenshot(SCREENSHOTS / "workflow.png")

        click(browser, "Statistics")
        for chart in ("runtimes", "timeline"):
            browser.wait_for(f"document.querySelector('#{chart} canvas')?.width")
        browser.screenshot(SCREENSHOTS / "statistics.png")

        for category, labels in FIGURES.items():
            for label in labels:
                shown = look(browser, category, label, "img")
                browser.wait_for(f"{shown}.complete && {shown}.naturalWidth > 400")
                box = browser.evaluate(f"{shown}.getBoundingClientRect().toJSON()")
                assert box["width"] > 300
                assert box["height"] > 150
                assert 0 <= box["left"] < box["right"] <= WIDTH
                assert 0 <= box["top"] < box["bottom"] <= HEIGHT
                browser.screenshot(
                    SCREENSHOTS / f"{label.replace('. ', '').replace(': ', '-')}.png"
                )
        for category, labels in {**TABLES, **NOTEBOOK}.items():
            for label in labels:
                shown = look(browser, category, label, "iframe")
                browser.evaluate(  # the screenshot should not be of an empty frame
                    f"new Promise(d => {{ {shown}.addEventListener('load', d); setTimeout(d, 2000) }})"
                )
                browser.screenshot(SCREENSHOTS / f"{label.replace(' ', '-')}.png")

        for name, cells in (("claims", 100), ("table1", 20), ("table2", 20), ("table3", 20)):
            browser.open(finished / f"results/tiny/tables/{name}.html")
            assert browser.evaluate("document.querySelectorAll('td').length") >= cells
            browser.screenshot(SCREENSHOTS / f"page-{name}.png")

        browser.open(finished / "results/tiny/inspect.html")
        images = browser.evaluate("[...document.images].map(i => i.complete ? i.naturalWidth : 0)")
        assert len(images) >= 2
        assert min(images) > 200
        browser.resize(WIDTH, int(browser.evaluate("document.documentElement.scrollHeight")))
        browser.screenshot(SCREENSHOTS / "notebook.png")
    complaints = [text for text in browser.complaints if not ITS_OWN.search(text)]
    assert complaints == []


def look(browser: Browser, category: str, label: str, tag: str) -> str:
    """Open a result by the menu and its eye symbol; return the element that shows it, as an expression."""
    browser.evaluate("app.setView({navbarMode: 'menu'})")
    click(browser, category)
    row = f"[...document.querySelectorAll('#app tr')].find(r => r.innerText.trim() === '{label}')"
    browser.wait_for(f"!!{row}")
    uri = f"Object.values(results).find(r => r.labels.result === '{label}').data_uri"
    shown = (
        f"[...document.querySelectorAll('#app {tag}')].find(x => x.getAttribute('src') === {uri})"
    )
    browser.evaluate(f"{row}.querySelector('a[iconname=eye]').click()")
    browser.wait_for(f"!!{shown}")
    return shown


def click(browser: Browser, text: str) -> None:
    """Click an entry of the menu."""
    entry = (
        f"[...document.querySelectorAll('#app li a')].find(a => a.innerText.trim() === '{text}')"
    )
    browser.wait_for(f"!!{entry}")
    browser.evaluate(f"{entry}.click()")
