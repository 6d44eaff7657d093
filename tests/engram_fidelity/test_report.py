"""What people see of a certificate."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from engram_testing.certified_donors import Donor, PoissonStudent, experiment

from engram_fidelity.certificate import Named, Settings, Subject, examine
from engram_fidelity.report import draw

HOSTILE = 'lab/x@1:<script>alert("1")</script>$\\frac{.onnx'
DONOR = Donor()
PNG = b"\x89PNG\r\n\x1a\n"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def examined():
    recorded = experiment(DONOR, repeats=20)
    recorded = replace(recorded, cells=("<b>0</b>", "$\\frac{1}$", "c\x1b[31m\u202e"))
    subject = Subject(student=Named(HOSTILE, "ab" * 32), recording=Named("lab/x@1:r.nwb", "cd" * 32))
    return examine(PoissonStudent(DONOR), recorded, Settings(seed=1, resamples=50), subject=subject)


@pytest.fixture(scope="module")
def report(examined):
    return draw(examined.certificate, examined.evidence)


class Tags(HTMLParser):
    """Collects tags and what they point to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "srcset", "href", "action")]


def test_every_picture_is_a_png_and_the_overview_holds_all(report):
    assert sorted(report.pictures) == ["bets", "cells", "raster", "rates", "statistics"]
    for picture in (*report.pictures.values(), report.overview):
        assert picture.startswith(PNG)
    heights = [int.from_bytes(one[20:24]) for one in report.pictures.values()]
    assert int.from_bytes(report.overview[20:24]) > sum(heights)


def test_the_page_needs_nothing_else_and_runs_nothing(report):
    tags = Tags()
    tags.feed(report.page.decode())
    assert not {"script", "link", "iframe", "object", "form", "b\n"} & set(tags.tags)
    assert len(tags.sources) == 2 * len(report.pictures)
    for source in tags.sources:
        assert source.startswith("data:image/png;base64,")
        assert base64.b64decode(source.partition(",")[2]).startswith(PNG)
    assert b"default-src 'none'" in report.page
    assert b"width=device-width" in report.page
    assert b"prefers-color-scheme:dark" in report.page


def test_what_others_named_is_escaped(report):
    text = report.page.decode()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b>0</b>" not in text


def test_nothing_invisible_and_no_endless_name_stands_on_the_page(examined):
    named = replace(examined.certificate, student=Named("v/m@1:\x1b[31m\x00\u202e\ud800" + "y" * 1_000_000, "ab" * 32))
    page = draw(named, examined.evidence).page
    assert len(page) < 3_000_000
    told = page.decode()
    assert not {"\x1b", "\x00", "\u202e"} & set(told)
    assert "v/m@1:\\u001b[31m\\u0000\\u202e\\ud800yyy" in told


def test_the_same_examination_gives_the_same_page(examined, report):
    assert draw(examined.certificate, examined.evidence).page == report.page


def test_a_certificate_without_repeats_has_a_report(examined):
    recorded = experiment(DONOR, repeats=1)
    found = examine(DONOR, recorded, Settings(seed=1, resamples=20, ceiling=False))
    assert draw(found.certificate, found.evidence).page


@pytest.mark.skipif(CHROMIUM is None, reason="only where a browser is installed: it is no dependency of the project")
def test_a_browser_shows_the_page(report, tmp_path):
    page = tmp_path / "report.html"
    page.write_bytes(report.page)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert re.search(r'<div class="letter B">B</div>', shown.stdout)
    picture = tmp_path / "telephone.png"
    subprocess.run(
        [CHROMIUM, *options, "--window-size=500,900", f"--screenshot={picture}", page.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert picture.read_bytes().startswith(PNG)
