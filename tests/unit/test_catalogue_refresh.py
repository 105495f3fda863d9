"""`scripts/refresh_catalogue`: what a checkout adds, what stays, and what is refused rather than left out."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from streams.dev.catalogue.__main__ import main
from streams.dev.catalogue.refresh import second_tuesday
from streams.policies.catalogue.tables import COLUMNS, Tables, faults, read_tables, table_text

DATA_DIR = Path(__file__).parent.parent / "data" / "health_checker"
BUILDS = "Shared/Get-ExchangeBuildVersionInformation.ps1"
CHECKS = "Diagnostics/HealthChecker/Analyzer/Security/Invoke-AnalyzerSecurityCveCheck.ps1"
OWN_CHECK = "Diagnostics/HealthChecker/Analyzer/Security/Invoke-AnalyzerSecurityCve-2026-90007.ps1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TABLES = {
    "exchange_builds.csv": [
        "Exchange Server 2016,CU23,Feb26SU,SU,15.1.2507.66,2026-02-10,KB5074995,true,MSLearn",
        "Exchange Server 2019,CU15,,CU,15.2.1748.10,2025-02-11,KB5042461,false,MSLearn",
        "Exchange Server 2019,CU15,Feb26SU,SU,15.2.1748.43,2026-02-10,KB5074993,true,MSLearn; CSS",
        "Exchange Server 2019,CU15,Sep26SU,SU,15.2.1748.51,2026-09-08,KB5121609,true,MSLearn",
        "Exchange Server 2019,CU15,Sep26SUv2,SU,15.2.1748.53,2026-10-02,KB5129956,true,MSLearn",
        "Exchange Server SE,RTM,,RTM,15.2.2562.17,2025-07-01,KB5047155,false,MSLearn; CSS",
        "Exchange Server SE,RTM,Feb26SU,SU,15.2.2562.37,2026-02-10,KB5074992,true,MSLearn; CSS",
        "Exchange Server SE,RTM,Sep26SU,SU,15.2.2562.49,2026-09-08,KB5121608,true,MSLearn; CSS",
        "Exchange Server SE,RTM,Sep26SUv2,SU,15.2.2562.53,2026-10-02,KB5129955,true,MSLearn; CSS",
    ],
    "exchange_build_aliases.csv": ["15.2.196.0,,preview,2019 Preview,MSLearn"],
    "exchange_lifecycle.csv": ["Exchange Server SE,,2035-12-31,,endoflife.date"],
    "exchange_cves.csv": [
        "CVE-2026-21527,Spoofing,,,,2016 CU23: 15.1.2507.66; SE RTM: 15.2.2562.37,,MSRC",
        "CVE-2026-90001,,2026-09-20,2026-10-11,Known,SE RTM: 15.2.2562.37,,CSS-Exchange",
        "CVE-2026-90007,,,,,SE RTM: 15.2.2562.37,Needs a setting too,CSS-Exchange",
    ],
    "exchange_cve_fixes.csv": [
        "CVE-2026-21527,Exchange Server 2016,CU23,15.1.2507.66,2026-02-10",
        "CVE-2026-21527,Exchange Server SE,RTM,15.2.2562.37,2026-02-10",
        "CVE-2026-90001,Exchange Server SE,RTM,15.2.2562.37,2026-02-10",
        "CVE-2026-90007,Exchange Server SE,RTM,15.2.2562.37,2026-02-10",
    ],
    "exchange_sources.csv": [],
}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder with small tables."""
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, rows in TABLES.items():
        (folder / name).write_text("\n".join([COLUMNS[name], *rows, ""]))
    assert faults(read_tables(folder)) == []
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the made-up checkout, to change."""
    return Path(shutil.copytree(DATA_DIR, tmp_path / "checkout"))


def refresh(checkout: Path, tables: Path, *more: str, day: str = "2026-10-21") -> int:
    plain = [] if (checkout / ".git").exists() or (checkout / "HEAD").exists() else ["--commit", COMMIT, "--date", day]
    return main(["--from", str(checkout), "--tables", str(tables), *plain, *more])


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in COLUMNS}


def rows(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines()[1:]


def test_a_checkout_adds_builds_names_and_fixes(
    checkout: Path, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refresh(checkout, tables) == 0
    added = set(rows(tables, "exchange_builds.csv")) - set(TABLES["exchange_builds.csv"])
    assert added == {
        # The source of what the checkout confirms is noted; the day of the CU stays.
        "Exchange Server 2019,CU15,,CU,15.2.1748.10,2025-02-11,KB5042461,false,MSLearn; CSS",
        "Exchange Server 2019,CU15,Sep26SUv2,SU,15.2.1748.53,2026-10-02,KB5129956,true,MSLearn; CSS",
        "Exchange Server 2019,CU15,Oct26SU,SU,15.2.1748.60,2026-10-13,,true,CSS; day: second Tuesday of the month",
        "Exchange Server 2019,CU16,,CU,15.2.1900.4,2026-10-20,,false,CSS",
        "Exchange Server SE,RTM,Oct26SU,SU,15.2.2562.60,2026-10-13,,true,CSS; day: second Tuesday of the month",
    }
    assert rows(tables, "exchange_build_aliases.csv") == [
        "15.2.196.0,,preview,2019 Preview,MSLearn",
        "15.2.1748.52,15.2.1748.51,alternate,2019 CU15 Sep26SU as CSS-Exchange has it,CSS",
    ]
    assert rows(tables, "exchange_cve_fixes.csv") == [
        "CVE-2026-21527,Exchange Server 2016,CU23,15.1.2507.66,2026-02-10",
        "CVE-2026-21527,Exchange Server SE,RTM,15.2.2562.37,2026-02-10",
        # Of two updates that are said to fix it the newer counts; the number that is only an alias is not used.
        "CVE-2026-90001,Exchange Server 2019,CU15,15.2.1748.53,2026-10-02",
        "CVE-2026-90001,Exchange Server SE,RTM,15.2.2562.49,2026-09-08",
        "CVE-2026-90002,Exchange Server SE,RTM,15.2.2562.49,2026-09-08",
        "CVE-2026-90003,Exchange Server SE,RTM,15.2.2562.49,2026-09-08",
        # The CU that came with the fixes of its month has them.
        "CVE-2026-90004,Exchange Server 2019,CU15,15.2.1748.60,2026-10-13",
        "CVE-2026-90004,Exchange Server 2019,CU16,15.2.1900.4,2026-10-20",
        "CVE-2026-90004,Exchange Server SE,RTM,15.2.2562.60,2026-10-13",
        "CVE-2026-90005,Exchange Server 2019,CU15,15.2.1748.60,2026-10-13",
        "CVE-2026-90005,Exchange Server 2019,CU16,15.2.1900.4,2026-10-20",
        "CVE-2026-90005,Exchange Server SE,RTM,15.2.2562.60,2026-10-13",
        "CVE-2026-90006,Exchange Server 2019,CU15,15.2.1748.43,2026-02-10",
        "CVE-2026-90006,Exchange Server SE,RTM,15.2.2562.37,2026-02-10",
        "CVE-2026-90007,Exchange Server SE,RTM,15.2.2562.37,2026-02-10",
    ]
    cves = rows(tables, "exchange_cves.csv")
    assert cves[:2] == [
        "CVE-2026-21527,Spoofing,,,,2016 CU23: 15.1.2507.66; SE RTM: 15.2.2562.37,,MSRC",
        "CVE-2026-90001,,2026-09-20,2026-10-11,Known,2019 CU15: 15.2.1748.53; SE RTM: 15.2.2562.49,,CSS-Exchange",
    ]
    assert [row.split(",")[0] for row in cves[2:]] == [f"CVE-2026-9000{number}" for number in range(2, 8)]
    assert rows(tables, "exchange_sources.csv") == [
        f"CSS-Exchange,{Path(CHECKS).parent},{COMMIT},2026-10-21",
        f"CSS-Exchange,{BUILDS},{COMMIT},2026-10-21",
    ]
    out = capsys.readouterr().out
    assert "kept exchange_builds.csv: 15.2.1748.10: release_date 2025-02-11; the checkout has 2025-02-10" in out
    assert (
        "kept exchange_cve_fixes.csv: CVE-2026-21527: 15.1.2507.66, 15.2.2562.37; the checkout has 15.2.1748.43" in out
    )
    assert "- exchange_cve_fixes.csv: CVE-2026-90001, Exchange Server SE, RTM, 15.2.2562.37, 2026-02-10" in out
    assert "+ exchange_cve_fixes.csv: CVE-2026-90001, Exchange Server SE, RTM, 15.2.2562.49, 2026-09-08" in out
    assert "~ exchange_builds.csv: 15.2.1748.53: source: MSLearn -> MSLearn; CSS" in out
    assert "kept what the checkout does not have: 2 builds, 0 vulnerabilities, 2 fixes, and all KB articles" in out


def test_a_second_run_changes_nothing_and_check_writes_nothing(
    checkout: Path, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tables)
    assert refresh(checkout, tables, "--check") == 1
    assert contents(tables) == before
    shown = capsys.readouterr().out.splitlines()
    assert refresh(checkout, tables) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == shown[:-1]
    after = contents(tables)
    assert refresh(checkout, tables, "--check") == 0
    assert capsys.readouterr().out.endswith("0 differences, nothing was written\n")
    assert refresh(checkout, tables) == 0
    assert contents(tables) == after


def git(folder: Path, *arguments: str) -> None:
    names = ("-c", "user.name=n", "-c", "user.email=n@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(("git", "-C", str(folder), *names, *arguments), check=True, capture_output=True)


def test_a_repository_is_read_as_committed_with_and_without_a_work_tree(
    checkout: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-10-21T23:30:00-05:00")
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "made up")
    git(tmp_path, "clone", "--quiet", "--bare", str(checkout), str(tmp_path / "bare"))
    (checkout / BUILDS).write_text("not committed")
    (checkout / CHECKS).unlink()
    other = Path(shutil.copytree(tables, tmp_path / "other"))
    assert refresh(checkout, tables) == 0
    assert refresh(tmp_path / "bare", other) == 0
    assert contents(tables) == contents(other)
    assert all(row.endswith(",2026-10-22") for row in rows(tables, "exchange_sources.csv"))
    assert "CVE-2026-90005" in contents(tables)["exchange_cves.csv"]


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        (BUILDS, '"Exchange2019" = @{', '"Exchange2030" = @{', "Exchange2030: is not a known product"),
        (BUILDS, '(NewCUAndSUObject "15.2.1900.4"', '(NewOtherObject "15.2.1900.4"', "Exchange2019 CU16: expected New"),
        (BUILDS, '"15.2.1748.43"', '"15.2.1749.43"', "15.2.1749.43: Exchange2019 CU15 Feb26SU: is not of the line of"),
        (BUILDS, '"15.2.1748.43"', '"15.1.1748.43"', "is not a four-part build of Exchange Server 2019"),
        (BUILDS, '"15.2.1748.43"', '"15.2.1748"', "is not a four-part build of Exchange Server 2019"),
        (BUILDS, '"15.2.1748.43"', '"15.2.1748.x"', "expected three or four decimal numbers"),
        (BUILDS, '"15.2.1748.43"', "$feb", f"{BUILDS}:41: $feb: names something that is unknown here"),
        (BUILDS, '"Feb26SU"   = "15.2.1748.43"', '"Feb26SU" : "15.2.1748.43"', f"{BUILDS}:41: :: is in no form"),
        (BUILDS, '"Sep26SUv2" = "15.2.1748.53"', '"Sep26SU" = "15.2.1748.53"', f"{BUILDS}:43: Sep26SU: is there twice"),
        (BUILDS, "function GetExchangeBuildDictionary", "function Other", "GetExchangeBuildDictionary"),
        (
            BUILDS,
            '$cuReleaseDate = "10/20/2026"',
            '$cuReleaseDate = "2026-10-20"',
            f"{BUILDS}:18: 2026-10-20: expected",
        ),
        (BUILDS, '$cuReleaseDate = "10/20/2026"', "$cuReleaseDate = $day", f"{BUILDS}:18: $cuReleaseDate = $day: exp"),
        (BUILDS, '$cuReleaseDate = "10/20/2026"', "", "Exchange Server 2019 CU16: has no release date"),
        (CHECKS, "$suNameDictionary = @{", "$other = @{", "suNameDictionary"),
        (CHECKS, '"Oct26SU" = (New', '"Nov26SU" = (New', f"Nov26SU: {BUILDS} has no such update"),
        (CHECKS, '= "Feb26SU"', '= "Nov26SU"', f"Nov26SU: {BUILDS} has no such update"),
        (CHECKS, 'CVEName = "CVE-2026-90006"', "", "expected one SUName and one CVEName for each override"),
        (CHECKS, '"CVE-2026-90004"', '"CVE-26-90004"', "CVE-26-90004: is neither a CVE id nor an advisory"),
        (CHECKS, "@($ex2019, $exSE))", "@($ex2019, $exSE) $more)", "$more: names something that is unknown here"),
        (CHECKS, "@($ex2019, $exSE))", '@("Exchange2030"))', "Exchange2030: is not a known product"),
        (CHECKS, '(NewCveEntry @("CVE-2026-21527") @($ex2019, $exSE))', '"CVE-2026-21527"', "Feb26SU: expected NewCve"),
        (CHECKS, '(NewCveEntry @("CVE-2026-21527") @($ex2019, $exSE))', "(Get-Cve)", "-: is in no form"),
        (CHECKS, "    }\n\n", "\n", f"{CHECKS}:13: $cveAndOverrideCheckParamList: expected a name in quotes"),
        (OWN_CHECK, "90007", "90008", f"{OWN_CHECK}:2: CVE-2026-90008: its check reads more than the build"),
    ],
)
def test_what_is_not_understood_is_refused_and_nothing_is_written(
    checkout: Path, tables: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, named: str
) -> None:
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))
    before = contents(tables)
    assert refresh(checkout, tables) == 2
    assert named in capsys.readouterr().err
    assert contents(tables) == before


@pytest.mark.parametrize("file", [BUILDS, CHECKS])
def test_a_folder_that_is_no_checkout_is_refused(
    checkout: Path, tables: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    (checkout / file).unlink()
    assert refresh(checkout, tables) == 2
    assert f"{file}: cannot be read, so this is not a checkout of CSS-Exchange" in capsys.readouterr().err
    assert main(["--from", str(checkout), "--tables", str(tables)]) == 2
    assert "is not a git repository: name its commit with --commit and --date" in capsys.readouterr().err


def test_an_older_checkout_than_the_tables_is_refused(
    checkout: Path, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refresh(checkout, tables) == 0
    assert refresh(checkout, tables, day="2026-10-20") == 2
    assert "of 2026-10-20: is older than commit 0123456789ab of 2026-10-21" in capsys.readouterr().err


def test_an_update_that_came_on_another_day_needs_its_day(
    checkout: Path, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (BUILDS, CHECKS):
        text = (checkout / file).read_text()
        (checkout / file).write_text(text.replace("Oct26SU", "Oct26HU"))
    assert refresh(checkout, tables) == 2
    told = capsys.readouterr().err
    assert "Oct26HU 15.2.1748.60: its release day is unknown; say --released Oct26HU=DAY" in told
    assert "Oct26HU 15.2.2562.60" in told
    assert refresh(checkout, tables, "--released", "Oct26HU=20.10.2026") == 2
    assert "--released: Oct26HU=20.10.2026: must be as Oct26SU=2026-10-14" in capsys.readouterr().err
    assert refresh(checkout, tables, "--released", "Oct26HU=2026-10-19") == 0
    assert "Exchange Server SE,RTM,Oct26HU,HU,15.2.2562.60,2026-10-19,,false,CSS" in rows(tables, "exchange_builds.csv")


def test_days_of_exploitation_come_from_the_catalogue_of_exploited_vulnerabilities(
    checkout: Path, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = [
        {"cveID": name, "product": product, "dateAdded": "2026-10-15", "dueDate": "2026-10-29"}
        | {"knownRansomwareCampaignUse": "Unknown"}
        for name, product in (("CVE-2026-90004", "Exchange Server"), ("CVE-2026-1", "Windows"))
    ]
    file = tmp_path / "known_exploited_vulnerabilities.json"
    file.write_text(json.dumps({"vulnerabilities": listed}))
    assert refresh(checkout, tables, "--exploited", str(file)) == 0
    (row,) = [row for row in rows(tables, "exchange_cves.csv") if row.startswith("CVE-2026-90004")]
    assert row.split(",")[2:5] == ["2026-10-15", "2026-10-29", "Unknown"]
    assert "2026-09-20" in contents(tables)["exchange_cves.csv"]
    listed[1]["product"] = "Exchange Server"
    file.write_text(json.dumps({"vulnerabilities": listed}))
    assert refresh(checkout, tables, "--exploited", str(file)) == 2
    assert "CVE-2026-1: known as exploited, and exchange_cves.csv does not have it" in capsys.readouterr().err
    file.write_text("[]")
    assert refresh(checkout, tables, "--exploited", str(file)) == 2
    assert "is not in the form that is known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("year", "month", "day"), [(2026, 2, 10), (2026, 9, 8), (2025, 10, 14), (2024, 10, 8), (2024, 6, 11), (2026, 12, 8)]
)
def test_the_second_tuesday(year: int, month: int, day: int) -> None:
    assert second_tuesday(year, month).isoformat() == f"{year}-{month:02}-{day:02}"


def test_a_table_with_other_columns_or_a_short_row_is_refused(tables: Path, checkout: Path) -> None:
    file = tables / "exchange_builds.csv"
    text = file.read_text()
    file.write_text(text.replace("release_date", "released"))
    with pytest.raises(ValueError, match="the columns must be product,release"):
        read_tables(tables)
    assert refresh(checkout, tables) == 2
    file.write_text(text.replace(",MSLearn\n", "\n", 1))
    with pytest.raises(ValueError, match="row 2: must have 9 values"):
        read_tables(tables)


def test_reading_and_writing_a_table_gives_the_same_bytes(tables: Path) -> None:
    found: Tables = read_tables(tables)
    assert {name: table_text(name, found[name]) for name in COLUMNS} == contents(tables)
