"""Pages over HTTP, as a browser without JavaScript gets them."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from litestar.testing import TestClient

from streams.database.database import Database
from streams.report.model.batch import SERVERS
from streams.report.page.overview import FILTERS
from streams.report.page.static import static_files
from streams.report.store.upkeep import note_current
from streams.report.store.writer import Writer
from streams.report.web.server_names import path_of_server
from tests.support.page_client import Client, SignIn, client_of, read
from tests.support.page_world import (
    ADMIN,
    HOSTILE,
    NOW,
    OPERATOR,
    OTHER,
    READER,
    Engine,
    application_for,
    life_of,
)
from tests.support.report import batch_of, read_of

PAGES = (
    "/",
    "/?show=action&q=ex",
    "/servers/ex03.contoso.com",
    "/servers/mail.contoso.com",
    "/pauses",
    "/notices",
    "/notices/destinations/d-hook",
    "/notices/destinations/d-hook/messages/msg_hook",
    "/notices/deliveries?notification=n59",
    "/notices/deliveries?destination=d-mail",
    "/coming",
)
ADMIN_PAGES = (
    "/pauses/new",
    "/pauses/new?server=ex03.contoso.com&days=7",
    "/notices/destinations/new",
    "/notices/destinations/d-hook/remove",
    "/notices/subscriptions/new",
    "/notices/subscriptions/s-hook",
    "/notices/subscriptions/s-hook/end",
)
OPERATOR_PAGES = (
    "/operator",
    "/operator?q=secret",
    "/operator/server?tenant=contoso&server=ex03.contoso.com",
)
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def says(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return read(answer.text)[0]


@pytest.fixture
def admin(sign_in: SignIn) -> Client:
    return sign_in(ADMIN)


def test_the_report_answers_the_three_questions_without_javascript(admin: Client) -> None:
    said = says(admin, "/")
    assert "6 of 17 servers are out of date." in said
    assert "Mail from ex01.contoso.com is blocked now." in said
    assert "29 Nov 2026, 09:00 UTC ex03.contoso.com delayed 10 → 20 minutes per hour" in said
    assert "delayed 20 min/h from 29 Nov" in said
    assert "CU23 Oct25SU, KB5066369" in said
    assert "As of 12 s ago" in said


def test_a_server_s_page_shows_evidence_dates_and_cure(admin: Client) -> None:
    html = admin.get("/servers/ex03.contoso.com").text
    assert "id <mark>15.1.2507.39</mark>; Thu, 26 Nov 2026" in html
    said, tags = read(html)
    assert "Exchange Server 2016 CU23 Apr24HU is out of date: at least build 15.1.2507.61 is needed." in said
    assert "CVE-2025-53786 fixed on" in said
    assert "Support of this product ends or ended on 14 Oct 2025." in said
    assert "8 Jan 2027, 09:00 UTC all mail blocked" in said
    assert "13 Dec 2026, 09:00 UTC" in said, "the first date that a pause of 14 days moves"
    links = [attributes.get("href") for tag, attributes in tags if tag == "a"]
    assert "https://support.microsoft.com/help/5066369" in links


def test_a_mixed_server_shows_both_machines(admin: Client) -> None:
    html = admin.get("/servers/mail.contoso.com").text
    said, _ = read(html)
    assert "One of the machines that call themselves mail.contoso.com is out of date." in said
    assert html.count("<mark>") == 2
    assert "<mark>15.1.2507.61</mark>" in html
    assert {"192.0.2.25", "192.0.2.77"} <= set(said.split())


@pytest.mark.parametrize("show", FILTERS)
def test_a_filter_shows_its_servers_and_links_their_csv(admin: Client, show: str) -> None:
    html = admin.get("/", params={"show": show}).text
    shown = html.partition('<table class="servers">')[2].count("<tr>") - 1
    link = re.search(r'aria-current="true">[^<]* <span class="n">(\d+)<', html.partition('class="filters"')[2])
    assert link is not None
    assert shown == int(link[1]) > 0
    export = re.search(r'href="(/v1/export/servers\.csv[^"]*)"', html)
    assert export is not None
    assert export[1].count("status=") == len(FILTERS[show])


def test_a_search_finds_and_says_when_it_finds_nothing(admin: Client) -> None:
    assert "ex03.contoso.com" in says(admin, "/?q=EX03").partition("CSV")[2]
    assert "No server here has “nosuch” in its name." in says(admin, "/?q=nosuch")
    assert admin.get("/", params={"q": "x\u0007"}).status_code == 400


def test_pages_of_the_table_follow_one_another(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.report.page.overview.MOST_ROWS", 6)
    path, names = "/", list[str]()
    while path:
        html = admin.get(path).text
        table = html.partition('<table class="servers">')[2]
        names += re.findall(r'<th scope="row"><a href="([^"]*)"', table)
        found = re.search(r'class="more"><a href="([^"]*)"', html)
        path = found[1].replace("&amp;", "&") if found else ""
    assert len(names) == len(set(names)) == 17
    assert admin.get("/?cursor=forged").status_code == 400


def test_an_empty_tenant_reads_good_news(empty_database: Database) -> None:
    engine = Engine(empty_database, policies=[])
    with client_of(engine, ADMIN) as client:
        assert "No server of yours has connected yet." in says(client, "/")
        assert "No stage is to come." in says(client, "/")
        assert "No notice yet." in says(client, "/notices")
        assert "No policy is announced." in says(client, "/coming")
        assert "90 days of pause left in 2026" in says(client, "/pauses")
        assert "No server has a stage to come" in says(client, "/pauses/new")


def test_what_a_stranger_wrote_is_seen_and_never_obeyed(admin: Client) -> None:
    paths = ("/", f"/servers/{quote(HOSTILE, safe='')}", f"/?q={quote(HOSTILE[:30])}", "/?show=%22%3E%3Cscript%3E")
    for path in (*paths, f"/servers/{quote('<img src=x onerror=1>', safe='')}"):
        html = admin.get(path).text
        assert "\u202e" not in html
        assert not re.search(r"<script(?! src=\"/static/)", html)
        assert "<img" not in html
    said, _ = read(admin.get(paths[1]).text)
    assert "helo:<script>alert(1)</script>&amp;\\u202egnp.exe not judged" in said
    assert "Why it is this server: no line of its own names it, so its greeting does." in said
    links = [attributes["href"] for tag, attributes in read(admin.get("/").text)[1] if tag == "a"]
    assert path_of_server(HOSTILE) in links


@pytest.mark.parametrize("name", ["helo:a/b", "helo:a//b", "helo:a?b=c", "helo:100%25", "ip:2001:db8::1"])
def test_any_name_has_a_page_of_its_own(empty_database: Database, name: str) -> None:
    reads = [read_of(SERVERS, offset, record) for offset, record in enumerate(life_of(name, NOW))]
    Writer(empty_database, lambda _: None).write(batch_of(reads))
    with client_of(Engine(empty_database), ADMIN) as client:
        link = re.search(r'<th scope="row"><a href="([^"]*)"', client.get("/").text)
        assert link is not None
        assert f'<h1 class="name">{name} ' in client.get(link[1].replace("&amp;", "&")).text


@pytest.mark.parametrize(
    "path", [*PAGES, *ADMIN_PAGES, *OPERATOR_PAGES, "/servers/none", "/static/none.css", "/nowhere"]
)
def test_every_answer_has_the_headers_that_a_browser_obeys(sign_in: SignIn, path: str) -> None:
    answer = sign_in(OPERATOR if path in OPERATOR_PAGES else ADMIN).get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    if answer.headers["content-type"].startswith("text/html"):
        assert answer.headers["cache-control"] == "no-store"
        for tag, attributes in read(answer.text)[1]:
            assert "style" not in attributes, (tag, attributes)
            assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
            assert tag != "script" or attributes["src"]


@pytest.mark.parametrize("path", [*PAGES, *ADMIN_PAGES])
@pytest.mark.parametrize("code", ["es", "de"])
def test_a_page_is_in_one_language(sign_in: SignIn, path: str, code: str) -> None:
    english = sign_in(ADMIN).get(path).text
    answer = sign_in(ADMIN).get(path, headers={"Accept-Language": code})
    assert answer.headers["content-language"] == code
    assert f'<html lang="{code}"' in answer.text
    heads = re.compile(r"<(?:h1|h2|th scope=\"col\"|label)[^>]*>([^<]{5,})<")
    same = set(heads.findall(english)) & set(heads.findall(answer.text))
    assert {text for text in same if "contoso" not in text and "microsoft" not in text} <= {
        "Server",
        "Position",
        "Status",
        "Build",
        "Ticket system ",
    }


def test_a_language_that_was_asked_for_is_remembered(admin: Client) -> None:
    answer = admin.get("/?lang=es")
    assert "6 de 17 servidores están obsoletos." in answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "6 de 17 servidores están obsoletos." in says(admin, "/")
    assert "secure" not in cookie
    assert "set-cookie" not in admin.get("/?lang=xx").headers


@pytest.mark.parametrize("path", ["/", "/servers/none.contoso.com"])
def test_behind_a_proxy_with_https_the_language_goes_to_nobody_else(own_engine: Engine, path: str) -> None:
    application = application_for(own_engine, ADMIN, is_secure=True)
    with TestClient(application, base_url="http://report.local") as client:  # as the proxy calls it
        assert "; secure" in client.get(f"{path}?lang=de").headers["set-cookie"].lower()


def test_another_tenant_s_server_is_the_same_as_none(sign_in: SignIn) -> None:
    def shown(path: str, name: str) -> tuple[int, str]:
        answer = sign_in(ADMIN).get(path)
        number = answer.headers["x-request-id"]
        return answer.status_code, answer.text.replace(name, "NAME").replace(number, "")

    for path in ("/servers/{}", "/pauses/new?server={}"):
        theirs, none = "secret.fabrikam.com", "absent.fabrikam.com"
        assert shown(path.format(theirs), theirs) == shown(path.format(none), none)
        assert shown(path.format(theirs), theirs)[0] == 404
    pages = shown("/?tenant=fabrikam", "fabrikam"), shown("/?tenant=nobody", "nobody")
    assert pages[0] == pages[1]
    assert pages[0][0] == 404
    for path in PAGES:
        assert "fabrikam" not in sign_in(ADMIN).get(path).text
    assert "secret.fabrikam.com" in sign_in(OTHER).get("/").text


def test_an_operator_sees_all_tenants_and_each_one(sign_in: SignIn) -> None:
    client = sign_in(OPERATOR)
    assert client.get("/", follow_redirects=False).headers["location"] == "/operator"
    said, tags = read(client.get("/operator?q=secret").text)
    assert "Dead letters that nobody has handled: 3" in said
    assert "ex09.contoso.com contoso 17 Dec 2026" in said
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert "/servers/secret.fabrikam.com?tenant=fabrikam" in links
    assert "secret.fabrikam.com" in says(client, "/?tenant=fabrikam")
    assert client.get("/servers/ex03.contoso.com").status_code == 400
    page = client.get("/servers/ex03.contoso.com?tenant=contoso").text
    for link in re.findall(r'<a [^>]*href="(/(?!operator"|static|v1|\?lang)[^"#]*)"', page):
        assert "tenant=contoso" in link, link


def test_nobody_else_sees_the_operator_s_pages(sign_in: SignIn) -> None:
    for path in OPERATOR_PAGES:
        assert sign_in(ADMIN).get(path).status_code == 403
    assert sign_in(ADMIN).post("/operator/release").status_code == 403
    for path in ADMIN_PAGES:
        assert sign_in(READER).get(path).status_code == 403
    html = sign_in(READER).get("/servers/ex03.contoso.com").text
    assert "Pause this server" not in html


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (12_000, None),
        (61_000, "This data is 1 minute old."),
        (600_000, "This data is 10 minutes old."),
        (None, "not known how old"),
    ],
)
def test_data_that_lags_gets_a_banner(empty_database: Database, age: int | None, expected: str | None) -> None:
    if age is not None:
        note_current(empty_database, NOW - age)
    with client_of(Engine(empty_database), ADMIN) as client:
        html = client.get("/").text
    assert ('class="banner"' in html) == (expected is not None)
    assert expected is None or expected in html


def test_coming_policies_say_whom_they_hit(sign_in: SignIn) -> None:
    said = says(sign_in(ADMIN), "/coming")
    assert "microsoft-2027/2 · 27 Dec 2026, 09:00 UTC" in said
    assert "1 of your servers changes." in said
    assert "Exchange Server 2019 CU15 is out of date." in said
    assert "out of date, not enforced yet Exchange Server 2019 CU15 Oct25SU, KB5066367" in said
    assert "None of your servers changes. There is nothing to do." in says(sign_in(OTHER), "/coming")


def test_coming_policies_say_at_how_many_servers_a_page_looks(
    own_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.report.page.coming.SERVERS_AT_ONCE", 7)
    with client_of(own_engine, ADMIN) as client:
        path, looked_at = "/coming", 0
        while path:
            html = client.get(path).text
            found = re.search(r"This page looks at (\d+) of your 17 servers", html)
            assert found is not None
            looked_at += int(found[1])
            link = re.search(r'<p class="more"><a href="([^"]+)"', html)
            path = link[1].replace("&amp;", "&") if link else ""
    assert looked_at == 17


def test_notices_are_told_in_the_reader_s_language(sign_in: SignIn) -> None:
    answer = sign_in(ADMIN).get("/notices", headers={"Accept-Language": "de"})
    said, _ = read(answer.text)
    assert "Für ex03.contoso.com sind die Maßnahmen strenger geworden" in said
    assert "Jetzt: 10 Minuten pro Stunde verzögert. Die nächste Stufe beginnt am 29. Nov. 2026, 09:00 UTC." in said
    assert "Installieren Sie Exchange Server 2016 CU23 Oct25SU, KB5066369." in said
    assert '<h3 lang="en">No</h3>' in answer.text


def test_static_files_are_kept_for_good_and_named_by_their_content(admin: Client) -> None:
    names = re.findall(r'(?:href|src)="(/static/[^"]+)"', admin.get("/").text)
    assert len(names) == 4
    for name in names:
        answer = admin.get(name, headers={"Accept-Encoding": "identity"})
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert admin.get(name, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        packed = admin.get(name, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == answer.content
    assert admin.get("/static/page.css").status_code == 404
    assert admin.get("/static/..%2Froutes.py").status_code == 404
    assert set(static_files()) == {"page.css", "page.js", "htmx.min.js", "icon.svg"}


def test_the_first_page_is_light(admin: Client) -> None:
    html = admin.get("/").content
    assert len(html) + sum(len(file.compressed) for file in static_files().values()) < 100_000


@pytest.mark.parametrize("host", ["x:99999", "[", ""])
@pytest.mark.parametrize("path", ["/?lang=de", "/servers/ex03.contoso.com?lang=de", "/servers/none?lang=de"])
def test_a_page_does_not_depend_on_what_a_client_calls_its_host(admin: Client, host: str, path: str) -> None:
    expected = admin.get(path)
    answer = admin.get(path, headers={"Host": host})
    assert answer.status_code == expected.status_code
    assert answer.headers["content-type"] == expected.headers["content-type"]
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers.get("set-cookie") == expected.headers.get("set-cookie")
