"""README, CONTRIBUTING and pages of docs are true: their Python runs, in the order of reading."""

from __future__ import annotations

import re

import pytest

import cloudllm_sync
from cloudllm_sync import AzureOpenAIClient, OpenAICompatibleClient
from cloudllm_sync.codecs import FEATURES
from cloudllm_sync.web.settings import NAMES
from tests.docs.pages import ROOT, Program, played_providers, python_of, text_of

README = text_of("README.md")
WEB = text_of("docs/web.md")
BLOCKS = python_of("README.md")
REPLY = "Once upon a time"


def title_of(block: str) -> str:
    """The heading that a block stands under, to name its test."""
    above = README[: README.index(block)]
    return re.findall(r"^## (.*)$", above, re.MULTILINE)[-1]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs blocks as one program in an empty folder; a fake server plays the providers."""
    with played_providers(monkeypatch, tmp_path, REPLY):
        program = Program()

        def run_all(blocks):
            for number, block in enumerate(blocks):
                program.run(block, f"README.md, block {number}")
            return program.names

        yield run_all
        program.close()


@pytest.mark.parametrize("last", range(len(BLOCKS)), ids=map(title_of, BLOCKS))
def test_blocks_run(run, capsys, last):
    """Each block runs after those above it, and reports no error."""
    run(BLOCKS[: last + 1])

    assert "Error" not in "".join(capsys.readouterr())


def test_first_block_prints_the_reply(run, capsys):
    """The first example prints the text, its end and the tokens used."""
    run(BLOCKS[:1])

    assert capsys.readouterr().out.startswith(
        f"{REPLY}\n[finished: stop]\nReceived {len(REPLY)} characters, used TokenUsage("
    )


def test_flask_view_streams_the_reply(run):
    """The Flask view answers with the reply's text, as events."""
    names = run(BLOCKS)

    answer = names["app"].test_client().post("/chat", json={"question": "Hi"})
    pieces = re.findall(r'^data: \{"content":"(.*)"\}$', answer.text, re.MULTILINE)

    assert "".join(pieces) == REPLY


def test_web_page_runs(run):
    """Its Flask view streams a turn; Django's is in tests/web/test_django_app.py."""
    names = run(["INSTALLED_APPS = []", *python_of("docs/web.md")])
    browser = names["app"].test_client()

    answer = browser.post("/chat/a", data={"question": "Hi"})
    body = answer.text

    assert answer.mimetype == "text/event-stream"
    assert "event: finish" in body
    names["app"].extensions["cloudllm"].close()


@pytest.mark.parametrize("blocks", [BLOCKS, python_of("CONTRIBUTING.md")], ids=["README", "CONTR"])
def test_test_that_is_shown_passes(run, blocks):
    """The test that is shown as an example passes."""
    names = run(blocks)

    (shown,) = [value for name, value in names.items() if name.startswith("test_")]

    shown()


def test_commands_for_newcomers_are_marked():
    """.ci/run finds the newcomer's two commands."""
    marked = re.search(r"<!-- \.ci/run .* -->\n```sh\n(.*?)```", README, re.DOTALL)

    assert marked[1].splitlines() == ["make demo", "make test"]


def test_settings_and_findings_of_the_web_page_are_those_there_are():
    """A setting or a finding that is added is written down in the same commit."""
    sources = ROOT.joinpath("cloudllm_sync/web/doctor.py").read_text(encoding="utf-8")

    assert re.findall(r"^\| `CLOUDLLM_(\w+)`", WEB, re.MULTILINE) == sorted(
        NAMES, key=lambda name: WEB.index(f"`CLOUDLLM_{name}`")
    )
    assert re.findall(r"^\| ([EW]\d+) ", WEB, re.MULTILINE) == sorted(
        set(re.findall(r'"([EW]\d{3})"', sources))
    )


def test_linked_files_exist():
    """No link leads to a file that is not there."""
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert links
    assert [link for link in links if not ROOT.joinpath(link).exists()] == []


NEEDS_ADDRESS = (AzureOpenAIClient, OpenAICompatibleClient)


def test_table_of_providers_says_what_the_codecs_declare():
    """A feature that a wire gains or loses changes README in the same commit."""
    table = README.split("checked by tests/test_readme.py", 1)[1].split("\n\n", 1)[0]
    header, _, *rows = re.findall(r"^\| ?(.*) \|$|^(\|--.*)$", table, re.MULTILINE)
    features = [name.strip() for name in header[0].split("|")][1:]
    said = {}
    for row, _ in rows:
        name, *cells = (cell.strip() for cell in row.split("|"))
        said[name.strip("`")] = {feature for feature, cell in zip(features, cells) if cell == "yes"}

    declared = {}
    for name in said:
        kind = getattr(cloudllm_sync, name)
        address = {"base_url": "https://x.example/v1"} if kind in NEEDS_ADDRESS else {}
        with kind("m", api_key="k", **address) as client:
            declared[name] = set(client.features)

    assert features == list(FEATURES)
    assert said == declared
    assert len(said) == 8
