"""The chat page in a real browser, Debian's chromium, served by the example as users start it."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest
from sites import ROOT, free_port, wait_for

from cloudllm_sync.testing import FakeServer, Raw, Reply, WaitFor, error_reply, openai_events

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install playwright"
)

PATIENCE_MS = 20_000
PAGES = ("flask_chat/app.py", "django_chat/app.py", "celery_chat/page.py")
WORDS = openai_events(Reply("one two three four five six seven"))
PICTURES = os.environ.get("CLOUDLLM_SCREENSHOTS")


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("needs chromium: Debian's package has it")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def upstream():
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module", params=PAGES)
def site(request, upstream, tmp_path_factory):
    """The address of the example's page."""
    pytest.importorskip(request.param.partition("_")[0])
    folder = tmp_path_factory.mktemp("chat")
    port = free_port()
    if "celery" in request.param:
        redis_url = request.getfixturevalue("redis_server")
        model = ["--redis", redis_url, "--model", f"custom:m@{upstream.base_url}"]
    else:
        model = ["--base-url", upstream.base_url, "--model", "m"]
    with open(folder / "log", "w+") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, str(ROOT / "examples" / request.param), *model),
                *("--port", str(port), "--store", f"sqlite:///{folder}/chats.db"),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(port, process, log)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def tab(chromium, site):
    """A new conversation; makes further tabs."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(site)
    yield page
    context.close()
    assert problems == []


def picture(page, name):
    if PICTURES:
        page.screenshot(path=str(pathlib.Path(PICTURES) / f"{name}.png"))


def say(page, text):
    playwright.expect(page.get_by_role("button", name="Send")).to_be_enabled()
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")


def reply(page, number=-1):
    return page.locator(".assistant .text").nth(number)


def texts(page):
    return page.locator(".message .text").all_text_contents()


def written(page):
    """Wait until nothing is on its way."""
    page.get_by_role("button", name="Stop").wait_for(state="hidden")


def test_text_arrives_step_by_step(tab, upstream):
    """A typing effect, and then what it took."""
    gates = [threading.Event() for _ in WORDS[1:8]]
    steps = [part for event, gate in zip(WORDS[1:8], gates) for part in (event, WaitFor(gate))]
    upstream.add(Raw(WORDS[0], *steps, *WORDS[8:]))
    say(tab, "Count")
    seen = []
    for word, gate in zip(["one", "two", "three", "four", "five", "six", "seven"], gates):
        playwright.expect(reply(tab)).to_contain_text(word)
        seen.append(reply(tab).text_content())
        if word == "four":
            picture(tab, "writing")
        gate.set()
    written(tab)
    picture(tab, "written")

    assert len(set(seen)) == 7
    assert texts(tab) == ["Count", "one two three four five six seven"]
    assert "10 tokens read, 7 written" in tab.locator(".assistant .note").text_content()


def test_stop_keeps_what_had_come(tab, upstream):
    """During a stall; and the next turn is fine."""
    upstream.add(Raw(*WORDS[:3], WaitFor(threading.Event())), Reply("fine"))
    say(tab, "Count")
    playwright.expect(reply(tab)).to_have_text("one two")
    tab.get_by_role("button", name="Stop").click()
    written(tab)
    picture(tab, "stopped")
    say(tab, "Again")
    playwright.expect(reply(tab)).to_have_text("fine")
    written(tab)

    assert texts(tab) == ["Count", "one two", "Again", "fine"]


def test_reload_in_mid_reply_shows_all_of_it_once(tab, upstream):
    """The publisher goes on, and the page follows it from its beginning."""
    gate = threading.Event()
    upstream.add(Raw(*WORDS[:3], WaitFor(gate), *WORDS[3:]))
    say(tab, "Count")
    playwright.expect(reply(tab)).to_have_text("one two")
    tab.reload()
    playwright.expect(reply(tab)).to_have_text("one two")
    picture(tab, "reloaded")
    gate.set()
    written(tab)
    playwright.expect(reply(tab)).to_have_text("one two three four five six seven")
    after = texts(tab)
    tab.reload()
    playwright.expect(reply(tab)).to_have_text("one two three four five six seven")

    assert after == ["Count", "one two three four five six seven"]
    assert texts(tab) == after


def test_two_tabs_on_one_conversation(tab, upstream):
    """The second one follows, too; while a reply is on its way, nobody begins another."""
    gate = threading.Event()
    upstream.add(Raw(*WORDS[:3], WaitFor(gate), *WORDS[3:]))
    say(tab, "Count")
    playwright.expect(reply(tab)).to_have_text("one two")
    other = tab.context.new_page()
    other.goto(tab.url)
    playwright.expect(reply(other)).to_have_text("one two")
    refused = other.request.post(
        tab.url.replace("#", "chats/") + "/messages", data={"text": "Me, too"}
    ).json()
    if "error" not in refused:  # a worker refused it
        site = tab.url.partition("#")[0]
        refused["error"] = other.request.get(f"{site}replies/{refused['key']}").text()
    gate.set()
    for page in (tab, other):
        written(page)
        playwright.expect(reply(page)).to_have_text("one two three four five six seven")

    assert "Another" in refused["error"]
    assert texts(other) == texts(tab)


def test_error_is_shown_as_one_and_can_be_retried(tab, upstream):
    """The message is not lost."""
    upstream.add(error_reply(401, "no such key"), Reply("fine"))
    say(tab, "Hello")
    retry = tab.get_by_role("button", name="Retry")
    retry.wait_for()
    picture(tab, "failed")
    shown = tab.get_by_role("status").text_content()
    retry.click()
    playwright.expect(reply(tab)).to_have_text("fine")
    written(tab)

    assert shown != ""
    assert texts(tab)[-2:] == ["Hello", "fine"]


def test_error_in_mid_reply_is_shown(tab, upstream):
    """In words for whoever reads it, not in the provider's."""
    failing = b'data: {"error": {"message": "secret plans", "code": 500}}\n\n'
    upstream.add(Raw(*WORDS[:3], failing))
    say(tab, "Hello")
    tab.get_by_role("button", name="Retry").wait_for()
    picture(tab, "failed-in-mid-reply")

    assert "secret" not in tab.content()
    assert tab.locator(".assistant.failed").count() == 1


def test_conversations_are_listed_opened_and_deleted(tab, upstream):
    """By keyboard alone."""
    upstream.add(Reply("first"), Reply("second"))
    say(tab, "About cats")
    playwright.expect(reply(tab)).to_have_text("first")
    written(tab)
    tab.get_by_role("button", name="New conversation").focus()
    tab.keyboard.press("Enter")
    playwright.expect(tab.get_by_label("Message")).to_be_focused()
    playwright.expect(tab.get_by_role("button", name="Send")).to_be_enabled()
    tab.keyboard.type("About dogs")
    tab.keyboard.press("Enter")
    playwright.expect(reply(tab)).to_have_text("second")
    written(tab)
    tab.get_by_role("button", name="About cats", exact=True).focus()
    tab.keyboard.press("Enter")
    playwright.expect(reply(tab)).to_have_text("first")
    cats = texts(tab)
    tab.get_by_role("button", name="Delete About dogs").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Delete About dogs").wait_for(state="detached")

    assert cats == ["About cats", "first"]


def test_reply_is_shown_in_its_own_conversation(tab, upstream):
    """Though another one was opened before the question was answered."""
    gate = threading.Event()
    answered = []
    tab.on("response", lambda answer: answered.append(answer.url.endswith("/messages")))
    upstream.add(Reply("first"), Raw(*WORDS, before_headers=[WaitFor(gate)]))
    say(tab, "About birds")
    playwright.expect(reply(tab)).to_have_text("first")
    written(tab)
    tab.get_by_role("button", name="New conversation").click()
    say(tab, "A secret")
    tab.get_by_role("button", name="About birds", exact=True).click()
    playwright.expect(reply(tab)).to_have_text("first")
    gate.set()
    while answered.count(True) < 2:
        tab.wait_for_timeout(20)
    tab.evaluate("new Promise((done) => setTimeout(done, 200))")

    assert texts(tab) == ["About birds", "first"]


def test_deleting_a_conversation_ends_its_reply(tab, upstream):
    """It does not come back with its turn."""
    upstream.add(Reply("first"), Raw(*WORDS[:3], WaitFor(threading.Event())))
    say(tab, "About fish")
    playwright.expect(reply(tab)).to_have_text("first")
    written(tab)
    say(tab, "More")
    playwright.expect(reply(tab)).to_have_text("one two")
    tab.get_by_role("button", name="Delete About fish").click()
    tab.get_by_role("button", name="Delete About fish").wait_for(state="detached")
    ended = upstream.wait_until_idle(PATIENCE_MS / 1000)
    tab.reload()
    playwright.expect(tab.get_by_role("button", name="Send")).to_be_enabled()

    assert ended
    assert 0 == tab.get_by_role("button", name="Delete About fish").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_page_fits_and_can_be_read(chromium, site, upstream, scheme, width):
    """On a phone and on a desk, by day and by night."""
    upstream.add(Reply("A reply of some length. " * 20))
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 640})
    page = context.new_page()
    page.goto(site)
    say(page, "A question of some length, so that it takes more than one line on a phone")
    playwright.expect(reply(page)).to_contain_text("some length")
    written(page)
    picture(page, f"{scheme}-{width}")
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    ground, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    context.close()

    assert overflow <= 0
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert ink != ground
