"""The report page: every figure is in it, everything given is escaped."""

import pytest

from signllm.visualization.player import Scene, Track
from signllm.visualization.report import Table, write_report


def test_report_holds_tables_badges_provenance_and_clips(signer, read_page, tmp_path):
    table = Table("Results", ["model", "error", "codes"], [["VQ", 0.0213456, 311], ["PCA", 0.06, None]], "12 clips")
    path = write_report(
        tmp_path / "report.html",
        title="Demo",
        intro="First.\n\nSecond.",
        tables=[table],
        scenes=[Scene([Track(signer(), "original")], "Clip A")],
        provenance={"data": "procedural signer", "seed": 12345},
        badges=["procedural"],
    )
    page = path.read_text(encoding="utf-8")
    assert '<ul class="badges"><li>procedural</li></ul>' in page
    assert "<p>First.</p>\n<p>Second.</p>" in page
    assert '<th scope="row">VQ</th><td class="number">0.02135</td><td class="number">311</td>' in page
    assert '<td class="number">–</td>' in page
    assert "<dt>seed</dt><dd>12345</dd>" in page
    assert read_page(page)["scenes"][0]["title"] == "Clip A"


def test_everything_given_is_escaped(signer, tmp_path):
    bad = "<img src=x onerror=alert(1)>"
    table = Table(bad, [bad, "n"], [[bad, bad]], bad)
    path = write_report(
        tmp_path / "report.html", bad, bad, [table], [Scene([Track(signer(), bad)], bad)], {bad: bad}, [bad]
    )
    assert "<img" not in path.read_text(encoding="utf-8")


def test_ragged_table_is_refused():
    with pytest.raises(ValueError, match="row 2 has 1 cells, expected 2"):
        Table("Results", ["a", "b"], [[1, 2], [1]])


def test_report_without_clips_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no scenes"):
        write_report(tmp_path / "report.html", "Demo", "", [], [], {})
    assert not list(tmp_path.iterdir())
