"""A report as one page of HTML: pictures inside, no script, nothing fetched, readable on a telephone, light or dark."""

from __future__ import annotations

import base64
import html
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from engram_fidelity.certificate.value import Betting, Certificate, Discriminator, Estimate, Measure
from engram_fidelity.report.pictures import PICTURES, Picture
from engram_fidelity.report.style import cell

_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that are written as their numbers."""
_MOST_CHARS: Final = 2000
"""Of one text."""
_STYLE: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#20242b;--quiet:#5d6571;--line:#dfe3e8;--soft:#f5f6f8;
--A:#25704a;--B:#1f6f9f;--C:#a3262f}
@media(prefers-color-scheme:dark){:root{--paper:#14171c;--ink:#e8eaed;--quiet:#9aa3af;--line:#2c323b;--soft:#1c2027;
--A:#6fcf9a;--B:#62b5e5;--C:#f08088}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:46rem;margin:0 auto;padding:1.5rem 1rem 4rem}
header{display:flex;gap:1.1rem;align-items:center;margin:.5rem 0 1.2rem}
.letter{font-size:3.4rem;line-height:1;font-weight:750;flex:none}
.A{color:var(--A)}.B{color:var(--B)}.C{color:var(--C)}
h1{font-size:1.3rem;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:1.08rem;margin:2.2rem 0 .3rem}
p{margin:.3rem 0}.quiet{color:var(--quiet)}
.key{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem;margin:1rem 0}
.key div{background:var(--soft);border-radius:.6rem;padding:.6rem .8rem}
.key b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}
.key span{color:var(--quiet);font-size:.82rem;display:block;line-height:1.3}
figure{margin:.6rem 0 0;overflow-x:auto}figure img{width:100%;min-width:36rem;height:auto;display:block;border-radius:.4rem}
.wide{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.28rem .55rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal;min-width:min(12rem,32vw)}
td.text{text-align:left;white-space:normal;overflow-wrap:anywhere}
th{color:var(--quiet);font-weight:500}
small{color:var(--quiet);display:block;font-size:.76rem}
""".replace("\n", "")

_NAMES: Final = {
    "cc_norm": "CC_norm",
    "cc_abs": "CC_abs",
    "cc_max": "CC_max, the ceiling of CC_abs",
    "feve": "FEVE, explainable variance that is explained",
    "bits_per_spike": "bits per spike",
    "deviance_explained": "Poisson deviance explained",
    "split_half": "split half, Spearman-Brown",
    "oracle": "oracle: each repeat against the mean of the others",
    "oracle_bits_per_spike": "oracle, bits per spike",
    "smoothed_oracle_bits_per_spike": "smoothed oracle, bits per spike",
    "calibration_error": "calibration error (ECE)",
    "fano.real": "Fano factor, network",
    "fano.student": "Fano factor, student",
    "rate_error": "rate, student against network",
    "victor_purpura": "spike distance, relative to repeats",
    "rescaling_ks": "time-rescaling KS",
    "rescaling_band": "time-rescaling KS, 95 % band",
}


def page(certificate: Certificate, light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> bytes:
    """Return the page, UTF-8; `light` and `dark` hold the pictures by name. Everything that others named is escaped."""
    grade = certificate.grade
    parts = [
        f'<header><div class="letter {_told(grade.letter)}">{_told(grade.letter)}</div><div>',
        f"<h1>{_told(certificate.student.address)}</h1>",
        f'<p class="quiet">against {_told(certificate.recording.address)}</p></div></header>',
        f"<p>{_told(_sentence(grade.reason))}</p>",
        _key(certificate),
        *(_figure(one, light[one.name], dark[one.name]) for one in PICTURES),
        _table(
            "By cell", certificate, (*certificate.measures, *certificate.ceilings, *certificate.free_running.measures)
        ),
        _apart(certificate),
        _domain(certificate),
        _provenance(certificate),
    ]
    title = _told(f"{grade.letter}: {certificate.student.address}")
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';img-src data:;style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head>"
    )
    return f"{head}<body><main>{''.join(parts)}</main></body></html>\n".encode()


def number(estimate: Estimate, *, digits: int = 3) -> str:
    """Return a number as text, a dash where it is missing."""
    return "\N{EN DASH}" if estimate.value is None else f"{estimate.value:.{digits}f}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _key(certificate: Certificate) -> str:
    coarse = f"{certificate.settings.coarse_s * 1e3:g} ms"
    told: list[tuple[str, str]] = []
    for name, label in (("cc_norm", f"CC_norm, {coarse}"), ("bits_per_spike", "bits per spike")):
        try:
            mean = certificate.measure(name).mean
        except KeyError:
            continue
        interval = "" if mean.low is None or mean.high is None else f", {mean.low:.3f} to {mean.high:.3f}"
        told.append((number(mean), label + interval))
    for one in certificate.free_running.discriminators:
        told.append(
            (number(one.auc, digits=2), f"AUC {one.classifier}; network against itself {number(one.control, digits=2)}")
        )
    told.append((f"{certificate.data.repeats}", f"repeats of {_seconds(certificate)}"))
    return f'<div class="key">{"".join(f"<div><b>{_told(a)}</b><span>{_told(b)}</span></div>" for a, b in told)}</div>'


def _seconds(certificate: Certificate) -> str:
    return f"{certificate.data.bins * certificate.settings.bin_s:.1f} s"


def _figure(one: Picture, light: bytes, dark: bytes) -> str:
    return (
        f'<h2>{_told(one.title)}</h2><p class="quiet">{_told(one.says)}</p><figure><picture>'
        f'<source media="(prefers-color-scheme:dark)" srcset="{_data(dark)}">'
        f'<img src="{_data(light)}" alt="{_told(one.says)}"></picture></figure>'
    )


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _table(title: str, certificate: Certificate, measures: Sequence[Measure]) -> str:
    head = ["", "mean", "10th pct", *map(cell, certificate.data.cells)]
    rows = [
        [f"{_NAMES.get(one.name, one.name)} ({one.bin_s * 1e3:g} ms)", *map(_cell, (one.mean, one.p10, *one.cells))]
        for one in measures
    ]
    return f"<h2>{_told(title)}</h2>{_rows(head, rows)}"


def _cell(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return number(estimate)
    return f"{number(estimate)}\n{estimate.low:.3f} to {estimate.high:.3f}"


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False) -> str:
    top = f"<tr>{''.join(f'<th>{_told(one)}</th>' for one in head)}</tr>" if head else ""
    body = "".join(
        f"<tr>{''.join(_entry(one, text=text and spot > 0) for spot, one in enumerate(row))}</tr>" for row in rows
    )
    return f'<div class="wide"><table>{top}{body}</table></div>'


def _entry(told: str, *, text: bool) -> str:
    first, _, second = told.partition("\n")
    small = f"<small>{_told(second)}</small>" if second else ""
    return f"<td{' class=text' if text else ''}>{_told(first)}{small}</td>"


def _apart(certificate: Certificate) -> str:
    free = certificate.free_running
    rows = [["discriminator", "AUC", "network against itself"], *map(_told_apart, free.discriminators)]
    parts = [f"<h2>Told apart</h2>{_rows(rows[0], rows[1:])}"]
    if free.betting is not None:
        rows = [
            [f"{one.epsilon:g}", f"{one.log10_e:.2f}", _at(one.reached_at), _needed(one.repeats_needed)]
            for one in free.betting.switches
        ]
        parts.append(f"<p>{_told(_guard(free.betting))}</p>")
        parts.append(_rows(["alike to epsilon", "log10 e", "shown after repeats", "repeats needed"], rows))
    if free.epsilon_with_power is not None:
        least = f"So many repeats have the power to show epsilon {free.epsilon_with_power:.3f} at best."
        parts.append(f'<p class="quiet">{_told(least)}</p>')
    return "".join(parts)


def _told_apart(one: Discriminator) -> list[str]:
    return [one.classifier, _cell(one.auc), _cell(one.control)]


def _guard(betting: Betting) -> str:
    right = ", ".join(f"{name} {100 * share:.1f} %" for name, share in betting.right.items())
    fired = "never fired" if betting.guard_at is None else f"fired after {betting.guard_at} repeats"
    evidence = f"The guard {fired} (log10 e {betting.guard_log10_e:.1f})."
    return (
        f"In {betting.repeats} repeats of {betting.pairs} pairs the discriminators were right in: {right}. {evidence}"
    )


def _at(repeat: int | None) -> str:
    return "never" if repeat is None else str(repeat)


def _needed(repeats: int | None) -> str:
    return "no number" if repeats is None else str(repeats)


def _domain(certificate: Certificate) -> str:
    domain, drift = certificate.domain, certificate.drift
    unit = f" {domain.unit}" if domain.unit else ""
    known = domain.visited_in_training
    visited = f"{100 * known.value:.0f} % of them" if known.value is not None else f"not known: {known.missing}"
    rows = [
        ["stimulus", f"{domain.channels} channels, {min(domain.lowest):g} to {max(domain.highest):g}{unit}"],
        ["stimulus space", f"{domain.visited} of {domain.cells} cells ({domain.history_s:g} s of history)"],
        ["visited in training", visited],
    ]
    if drift is not None:
        told = "flagged" if drift.flagged else "not flagged"
        trend = drift.rate_trend.mean
        changed = "" if trend.value is None else f"; rates changed by {100 * trend.value:+.1f} %"
        rows.append(
            ["donor drift", f"{told}: first half of the repeats against the second, AUC {number(drift.auc)}{changed}"]
        )
    rows.append(["plasticity", f"{certificate.plasticity}: the student is a snapshot"])
    return f"<h2>What it speaks of</h2>{_rows([], rows, text=True)}"


def _provenance(certificate: Certificate) -> str:
    told = {
        "student": f"{certificate.student.address}\n{certificate.student.sha256}",
        "recording": f"{certificate.recording.address}\n{certificate.recording.sha256}",
        "experiment": f"{', '.join(certificate.data.stimuli)}\n{certificate.data.experiment_sha256}",
        "seed": str(certificate.settings.seed),
        "not scored": f"the first {certificate.settings.score_from_s:g} s of each stimulus",
        **{str(name): str(value) for name, value in {**certificate.versions, **certificate.profile}.items()},
    }
    return f"<h2>Made of</h2>{_rows([], [[name, value] for name, value in told.items()], text=True)}"


def _told(text: str) -> str:
    """Return a text for a page: no mark-up, nothing invisible that reorders it or commands a terminal, no endless name."""
    if len(text) > _MOST_CHARS:
        text = f"{text[: _MOST_CHARS // 2]} \N{HORIZONTAL ELLIPSIS} {text[-_MOST_CHARS // 2 :]}"
    shown = (f"\\u{ord(one):04x}" if unicodedata.category(one) in _UNSAFE else one for one in text)
    return html.escape("".join(shown))
