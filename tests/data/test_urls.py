"""Web addresses: no secret is shown, none is asked unencrypted, and the name of a download tells its format."""

from __future__ import annotations

import io
import re
from email.message import Message
from http.client import HTTPMessage
from urllib.parse import quote
from urllib.request import Request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.urls import Redirects, check_url, file_name, page_fix, request, shown_url

SHEET = "https://docs.google.com/spreadsheets/d/e/2PACX-1v/pub?gid=0&single=true&output=csv"


def headers(**fields: str) -> Message:
    made = Message()
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    return made


@pytest.mark.parametrize(
    "url", [SHEET, "https://a.org/x.csv", "http://localhost:8/x", "http://127.0.0.1/x", "http://[::1]/"]
)
def test_an_encrypted_or_local_address_is_taken(url):
    check_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/x.csv", "http:// is not encrypted"),
        ("http://localhost.example.com/x.csv", "http:// is not encrypted"),
        ("http://127.0.0.1@example.com/x.csv", "http:// is not encrypted"),
        ("ftp://example.com/x.csv", "ftp:// is not encrypted"),
        ("https:///x.csv", "is not a web address"),
        ("https://user:pa/ss@example.com/x.csv", "is not a web address"),
        ("https://exa mple.com/x.csv", "is not a web address"),
        ("https://exa..mple.com/x.csv", "is not a web address"),
        ("https://[example.com/x.csv", "is not a web address"),
    ],
)
def test_other_addresses_are_refused(url, words):
    with pytest.raises(InputError, match=words) as error:
        check_url(url)
    assert error.value.fix
    assert "pa/ss" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (SHEET, SHEET),
        ("https://me:word@a.org/x.csv", "https://***@a.org/x.csv"),
        ("https://word@a.org:8/x.csv#word", "https://***@a.org:8/x.csv"),
        ("https://a.org/x?token=word&gid=0&API_KEY=word&a=b", "https://a.org/x?token=***&gid=0&API_KEY=***&a=b"),
        ("https://a.org/x?X-Amz-Signature=word&sig=word&q", "https://a.org/x?X-Amz-Signature=***&sig=***&q"),
        ("https://a.org/x?access%5Ftoken=word&key=", "https://a.org/x?access%5Ftoken=***&key="),
    ],
)
def test_secrets_are_hidden(url, shown):
    assert shown_url(url) == shown


@given(
    st.text(min_size=6, max_size=20).map(lambda text: "s3cr3t" + text),
    st.sampled_from(
        ["https://u:{}@a.org/x", "https://{}@a.org/x", "https://a.org/x?token={}", "https://a.org/?a=b&Signature={}&c=d",
         "https://a.org/x#{}", "http://u:{}@b.org:8080/x?q=1"]
    ),
    st.booleans(),
)  # fmt: skip
def test_no_secret_is_ever_shown(secret, template, quoted):
    # as it should be written; and as anyone might, but that a `&` or `/` ends a part
    written = quote(secret, safe="") if quoted else re.sub(r"[&/?#\[\]@;\\]", "", secret)
    assert "s3cr3t" not in shown_url(template.format(written))


def test_a_password_goes_to_its_host_alone():
    made = request("https://me:pass%20word@a.org/some file.csv?q=ä&s=%2F+")
    assert made.full_url == "https://a.org/some%20file.csv?q=%C3%A4&s=%2F+"
    assert made.unredirected_hdrs == {"Authorization": "Basic bWU6cGFzcyB3b3Jk"}
    assert "Authorization" not in made.headers
    assert not request("https://a.org/x").unredirected_hdrs


@pytest.mark.parametrize(
    ("old", "new", "followed"),
    [
        ("https://a.org/x", "https://b.org/y", True),
        ("https://a.org/x", "http://a.org/x", False),
        ("https://a.org/x", "http://127.0.0.1/x", False),
        ("http://127.0.0.1/x", "http://localhost/y", True),
        ("http://127.0.0.1/x", "https://a.org/y", True),
        ("http://127.0.0.1/x", "http://a.org/y", False),
        ("https://a.org/x", "ftp://a.org/y", False),
    ],
)
def test_a_redirect_stays_encrypted(old, new, followed):
    answer = io.BytesIO()
    ask = Request(old + "?token=word")
    if followed:
        made = Redirects().redirect_request(ask, answer, 302, "", HTTPMessage(), new)
        assert made is not None
        assert made.full_url == new
    else:
        with pytest.raises(InputError, match="an address that is not encrypted") as error:
            Redirects().redirect_request(ask, answer, 302, "", HTTPMessage(), new)
        assert "word" not in str(error.value)
        assert answer.closed


@pytest.mark.parametrize(
    ("url", "fields", "name"),
    [
        (SHEET, {"Content_Type": "text/csv"}, "pub.csv"),
        (SHEET, {}, "pub.csv"),
        (SHEET, {"Content_Disposition": 'attachment; filename="My sheet - A.csv"'}, "My_sheet_-_A.csv"),
        (SHEET, {"Content_Disposition": "attachment; filename*=UTF-8''caf%C3%A9%2F..%2Fx.tsv"}, "x.tsv"),
        ("https://a.org/export?format=TSV", {}, "export.tsv"),
        ("https://a.org/data.CSV", {"Content_Type": "text/plain"}, "data.csv"),
        ("https://a.org/a/b/rows.jsonl.gz?download=true", {"Content_Type": "application/gzip"}, "rows.jsonl.gz"),
        ("https://a.org/api/rows", {"Content_Type": "application/x-ndjson; charset=utf-8"}, "rows.jsonl"),
        ("https://a.org/api/rows", {"Content_Type": "application/vnd.apache.parquet"}, "rows.parquet"),
        ("https://a.org/rows", {"Content_Type": "application/json", "Content_Encoding": "gzip"}, "rows.json.gz"),
        ("https://a.org/rows.csv.gz", {"Content_Encoding": "gzip"}, "rows.csv.gz"),
        ("https://a.org/", {"Content_Type": "text/plain"}, "data.txt"),
        ("https://a.org/.csv", {}, "data.csv"),
        ("https://a.org/rows.csv", {"Content_Disposition": "attachment; filename=download"}, "rows.csv"),
        ("https://a.org/%2e%2e%2f%2e%2e%2fetc%2fpasswd.txt", {}, "passwd.txt"),
        ("https://a.org/日本.csv", {}, "data.csv"),
        ("https://a.org/" + "x" * 300 + ".csv", {}, "x" * 80 + ".csv"),
    ],
)
def test_what_a_download_is_called(url, fields, name):
    assert file_name(url, headers(**fields)) == name


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        (
            "https://a.org/book.xlsx",
            {"Content_Type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
        ),
        ("https://a.org/pub?output=pdf", {"Content_Type": "application/pdf"}),
        ("https://a.org/rows", {}),
        ("https://a.org/rows.zip?token=word", {"Content_Type": "application/octet-stream"}),
    ],
)
def test_a_format_that_cannot_be_told_is_an_error(url, fields):
    with pytest.raises(InputError, match="the format of the file cannot be told") as error:
        file_name(url, headers(**fields))
    assert ".parquet" in str(error.value.fix)
    assert "word" not in str(error.value)


@given(st.text(max_size=200), st.text(max_size=60))
def test_a_name_is_always_safe(path, given_name):
    asked = f"https://a.org/{quote(path)}?output=csv"
    for fields in ({}, {"Content_Disposition": f"attachment; filename={quote(given_name)}"}):
        name = file_name(asked, headers(**fields))
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\.[a-z]+(\.gz)?", name)


def test_a_page_is_answered_by_where_it_comes_from():
    assert "Publish to web" in page_fix("https://docs.google.com/spreadsheets/d/abc/edit#gid=0")
    assert "hub:<owner>/<name>" in page_fix("https://huggingface.co/datasets/org/name")
    assert "Raw" in page_fix("https://www.github.com/org/name/blob/main/a.csv")
    assert "set data.source" in page_fix("https://a.org/x.csv")
