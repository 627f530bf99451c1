# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the pages of very many images, on a few."""

import bench


def test_records_become_a_group_report(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(bench.BENCHMARKS))
    pages = bench.load("pages")
    assert pages.write_records(tmp_path, 20, 2) == "20 records, 2 pages\n"
    heads, _, row = pages.measure_group(tmp_path).splitlines()
    assert row.startswith("| 0 | ")
    assert "page, MB" in heads
    assert (tmp_path / "group_desc-brain_qc.tsv").read_text().count("\n") == 21
    assert "sub-000001_ses-2" in (tmp_path / "sub-000001.html").read_text()
