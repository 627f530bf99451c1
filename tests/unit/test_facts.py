# SPDX-License-Identifier: Apache-2.0
"""Scanners and participants, by which the group report groups images, and judges outliers."""

import json

import pytest

from bids_brainmask.dataset import readback, scanners
from bids_brainmask.reports import facts, group_tables

SIEMENS = {"Manufacturer": "Siemens", "ManufacturersModelName": "Prisma"}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / "raw"
    write(raw / "T1w.json", {**SIEMENS, "MagneticFieldStrength": 3, "InstitutionName": "Here"})
    write(raw / "sub-02/sub-02_T1w.json", {"MagneticFieldStrength": 1.494})
    write(raw / "sub-02/anat/sub-02_T1w.json", {"InstitutionName": ["no", "text"]})
    write(raw / "sub-03/anat/sub-03_T1w.json", "{broken")
    write(raw / "sub-04/anat/sub-04_acq-b_T1w.json", {"Manufacturer": "another image's"})
    return raw


def result(number, **more):
    return readback.Result(f"sub-{number:02}", f"sub-{number:02}/anat", **more)


def test_sidecars_are_inherited_and_the_nearest_counts(raw):
    found = scanners.read(raw, [result(number) for number in (1, 2, 3, 4)])
    assert scanners.name(found["sub-01"]) == "Siemens Prisma 3 T Here"
    assert scanners.name(found["sub-02"]) == "Siemens Prisma 1.5 T Here"
    assert found["sub-03"] == found["sub-04"] == found["sub-01"]
    assert scanners.read(raw / "absent", [result(1)]) == {}
    assert scanners.name({}) == ""


def test_columns_are_of_scanners_and_participants(raw, tmp_path):
    out = tmp_path / "out"
    table = "participant_id\tage\tsite\tempty\tvolume_ml\nsub-01\t31\tA\tn/a\t1\nsub-02\tn/a\tB\n"
    write(out / "participants.tsv", table)
    write(out / "participants.json", {"age": {"LongName": "Age", "Units": "year"}, "site": 3})
    results = [result(1), result(2), result(9)]
    said = scanners.read(raw, results)
    columns, values = facts.gather(out, results, said, {"volume_ml": {}})
    assert list(columns) == [
        *("manufacturer", "scanner_model", "field_strength", "institution", "age", "site")
    ]
    assert columns["age"] == {
        "LongName": "Age",
        "Description": "Of participants.tsv",
        "Units": "year",
    }
    assert values["sub-01"] | {"field_strength": 3.0, "age": 31.0, "site": "A"} == values["sub-01"]
    assert "age" not in values["sub-02"]
    assert facts.gather(tmp_path, results, {}, {})[0] == {}


def test_a_table_that_cannot_be_read_is_told_of(tmp_path, caplog):
    (tmp_path / "participants.tsv").write_bytes(b"participant_id\tname\nsub-01\t\xff\n")
    assert facts.gather(tmp_path, [result(1)], {}, {}) == ({}, {"sub-01": {}})
    assert "participants.tsv: ignored" in caplog.text


def test_outliers_are_judged_within_a_scanner_that_has_enough_images():
    """Ten heads of each of two scanners, whose volumes differ, and three of a third one."""
    number, names, rows, results = 0, {}, [], []
    for scanner, count, volume in (("A", 10, 1400.0), ("B", 10, 1500.0), ("C", 3, 1450.0)):
        for index in range(count):
            number += 1
            record = {"Parameters": {"Threshold": 0.5}}
            results.append(result(number, records={"brain": record}))
            names[results[-1].key] = scanner
            value = volume + index % 5 + (60 if (scanner, index) == ("A", 9) else 0)
            rows.append({"volume_ml": value, "contrast_enhanced": False, "model": "m 1"})
    apart = group_tables.judge("brain", rows, results, names)
    wide = group_tables.judge("brain", rows, results)
    assert apart[9]["outlier_reasons"].startswith("volume")
    assert wide[9]["outlier_reasons"] is None
    assert apart[0]["group"] == "plain images, m 1, threshold 0.5, scanner A"
    assert apart[22]["group"] == "plain images, m 1, threshold 0.5"
    assert [row["outlier_reasons"] for row in apart[10:20]] == [None] * 10
