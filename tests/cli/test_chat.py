"""`cloudllm chat` without a terminal: what is typed and what is drawn, in this process."""

from __future__ import annotations

import builtins
import io
import sys
import threading

import pytest
from rich.console import Console

from cloudllm_sync import MessageChunk
from cloudllm_sync.cli import chat as chat_module, choosing
from cloudllm_sync.cli.conversations import opened_store
from cloudllm_sync.cli.markdown import OnTerminal
from cloudllm_sync.testing import Raw, Reply, error_reply, openai_events
from cloudllm_sync.testing.demo import demo_model

WORDS = openai_events(Reply("one two three"))


@pytest.fixture
def converse(monkeypatch, capsys):
    """Chats by typing lines; what is printed. What is no text is raised: Ctrl-C, or the end."""

    def converse(*typed, **options):
        lines = iter([*typed, EOFError])

        def read(prompt):
            line = next(lines)
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr(builtins, "input", read)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        chat_module.run_chat(**options)
        return capsys.readouterr().out

    return converse


def asked(server):
    return [message["content"] for message in server.requests[-1].json["messages"]]


def test_replies_follow_what_was_typed(converse, server, model):
    """Empty lines say nothing; Ctrl-C at the prompt leaves the chat open."""
    printed = converse("Hi", "", KeyboardInterrupt, "And?", model=model)

    assert 2 == printed.count("Hello there.")
    assert "Ctrl-D leaves" in printed
    assert ["Hi", "Hello there.", "And?"] == asked(server)


def test_lines_are_joined(converse, server, model):
    """By a backslash, or between quotes."""
    converse("one\\", "two", '"""', "three", "", "four", '"""', model=model)

    assert ["one\ntwo", "Hello there.", "three\n\nfour"] == asked(server)


def test_commands_do_what_their_help_says(converse, server, model):
    """One after the other, as in a chat."""
    server.add(Reply("First."), Reply("Second."))
    lines = ["/help", "/nonsense", "/retry", "/load", "/save", "Hi", "/retry", "/usage", "/cost"]
    other = model.replace(":m@", ":other@")
    printed = converse(
        *lines, "/save trip", "/model", f"/model {other}", "/load", "/quit", model=model
    )

    assert "There is no /nonsense." in printed
    assert "[nothing was asked yet]" in printed
    assert "[none is kept]" in printed
    assert "[write /save NAME]" in printed
    assert "last turn: 10 read, 1 written\nall turns: 20 read, 2 written" in printed
    assert "[no price is known]" in printed
    assert "[kept as trip: cloudllm chat -s trip goes on with it]" in printed
    assert "[custom:m]\n[custom:other]\ntrip\nBye." in printed
    assert ["Hi"] == asked(server)


def test_chat_that_is_kept_goes_on(converse, server, model):
    """It shows where it was left; another of that name cannot be saved over it."""
    converse("Hi", "/save trip", model=model)
    printed = converse("More", "/load new", "/save trip", model=model, session="trip")

    assert "you: Hi\nmodel: Hello there." in printed
    assert "[new is new]" in printed
    assert "'trip' is kept already" in printed
    assert ["Hi", "Hello there.", "More"] == asked(server)


def test_load_lists_all_that_is_kept(converse, run, model):
    """The latest first, as `cloudllm sessions` does."""
    store = opened_store()
    for number in range(101):
        store.append(f"{number:03}", 0, [], None)
    printed = converse("/load", model=model)
    names = [line.rpartition(" ")[2] for line in run("sessions")[0].splitlines()]

    assert "\n".join(names) in printed
    assert ["100", "000"] == [names[0], names[-1]]


def test_load_does_not_leave_what_is_kept_nowhere(converse, server, model):
    """A word typed wrong would cost the whole chat."""
    printed = converse("Hi", "/load trip", "More", "/save trip", "/load a\tb", "Yet", model=model)

    assert "[this chat is kept nowhere: /save NAME first, or /quit]" in printed
    assert ["Hi", "More", "Yet"] == asked(server)[::2]


def test_chat_that_cannot_be_kept_goes_on(converse, server, model, monkeypatch, tmp_path):
    """It is in memory alone, and would be lost."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLOUDLLM_DATA", str(tmp_path / "file"))
    printed = converse("Hi", "/save trip", "More", model=model)

    assert f"[no folder for conversations at '{tmp_path / 'file'}'" in printed
    assert ["Hi", "Hello there.", "More"] == asked(server)


def test_retry_asks_again_what_failed(converse, server, model):
    """Nothing of the failed turn is in the history."""
    server.add(error_reply(400, "no"), Raw(*WORDS[:3]), Reply("fine"))
    printed = converse("Hi", "/retry", "/retry", model=model)

    assert "fine" in printed
    assert ["Hi"] == asked(server)


def test_retry_that_fails_forgets_nothing(converse, run, server, model, tmp_path):
    """Neither the reply that was there, nor the picture that had been asked about."""
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    run("ask", "-m", model, "-s", "trip", "-a", str(picture), "What?")
    server.add(error_reply(400, "no"), error_reply(400, "no"), Reply("A dot."))
    converse("/retry", model=model, session="trip")
    failed = run("sessions", "show", "trip")[0]
    converse("/retry", "/retry", model=model, session="trip")

    assert "user: What?\n\nassistant: Hello there.\n\n" == failed
    assert "user: What?\n\nassistant: A dot.\n\n" == run("sessions", "show", "trip")[0]
    assert {str(server.requests[0].json["messages"])} == {
        str(request.json["messages"]) for request in server.requests
    }


def test_retry_of_what_was_answered_before_forgets_nothing(converse, server, model):
    """The same words may be said again, and fail then."""
    server.add(Reply("One."), error_reply(400, "no"), Reply("Two."), Reply("Three."))
    converse("Go on", "Go on", "/retry", "/retry", model=model)

    assert ["Go on", "One.", "Go on"] == asked(server)


def test_demo_begins_a_chat(converse, run, monkeypatch):
    """Whoever has no key is offered it."""
    monkeypatch.setattr(choosing.click, "confirm", lambda *_, **__: True)
    printed = converse("Show Markdown", model=None)

    assert "lists that are numbered" in printed


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (["Write a haiku"], "Green tokens arrive,"),
        (["My name is Ada.", "What is my name?"], "Your name is Ada."),
        (["What is my name?"], "You have not told me"),
        (["Why do you stream?"], "A model writes one token after the other, friend."),
        (["One", "Two"], "You said 'Two', and before that 'One'."),
        ([""], "You said '', and nothing before that."),
    ],
)
def test_demo_model_answers_what_it_is_asked(said, answered):
    """From what the request holds."""

    class Request:
        json = {"messages": [{"role": "user", "content": text} for text in said]}

    assert answered in demo_model(Request()).text


# --- what is drawn ---


def drawn(*chunks, height=25, fails=False):
    """What a terminal of 40 columns is sent, and the last screenful of text in it."""
    file = io.StringIO()
    shown = OnTerminal(
        Console(file=file, force_terminal=True, width=40, height=height, color_system=None)
    )
    for chunk in chunks:
        shown.chunk(chunk)
    if fails:
        shown.fail(KeyboardInterrupt())
    else:
        shown.finish(None)
    return file.getvalue()


def test_blocks_are_printed_in_order():
    """Reasoning first, and a blank line between them."""
    text = drawn(
        MessageChunk(reasoning="I think."), MessageChunk("# A\n\nb *c*\n\n"), MessageChunk("- d\n")
    )
    places = [text.rindex(part) for part in ("I think.", "A", "b c", "d")]

    assert places == sorted(places)
    assert "*" not in text


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("A List<String>, <b>bold</b>", "A List<String>, <b>bold</b>"),
        ("<div>\nhere\n</div>", "<div> here </div>"),
        ("<!-- why -->", "<!-- why -->"),
        ("A [word][1]\n\n[1]: https://a.example", "A [word][1]\n\n[1]: https://a.example"),
        ("A claim[^1].\n\n[^1]: Its source", "A claim[^1].\n\n[^1]: Its source"),
        ("[word](https://a.example)", "word (https://a.example)"),
        ("<https://a.example>", "<https://a.example>"),
        ("![dot](https://a.example)", "!dot (https://a.example)"),
        ("~~old~~ \\*new\\* &amp;", "old *new* &"),
    ],
)
def test_nothing_that_was_written_is_left_out(text, lines):
    """HTML, definitions and addresses are text, too."""
    printed = drawn(MessageChunk(text)).rpartition("\x1b[2K")[2]

    assert lines == "\n".join(line.rstrip() for line in printed.splitlines())


def test_words_of_a_table_are_folded():
    """Four columns are too many for forty places."""
    cells = ["max_output_tokens", "int", "none", "How long a reply may be at most"]
    row = f"| {' | '.join(cells)} |\n"
    printed = drawn(MessageChunk(f"{row}|---|---|---|---|\n{row}")).rpartition("\x1b[2K")[2]

    assert sorted("".join(2 * cells).replace(" ", "")) == sorted(
        "".join(printed.replace("━", "").replace("─", "").split())
    )


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_open_at_the_end_is_printed(fails):
    """However it ends; and the cursor is there again."""
    text = drawn(MessageChunk("one "), MessageChunk("two"), fails=fails)

    assert "one two" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_long_block_is_drawn_by_its_last_lines():
    """What was drawn above the top of the terminal could not be taken back."""
    drawing = threading.Event()

    class Seen(io.StringIO):
        def write(self, text):
            if "line 39" in text:
                drawing.set()
            return super().write(text)

    file = Seen()
    shown = OnTerminal(
        Console(file=file, force_terminal=True, width=40, height=10, color_system=None)
    )
    shown.chunk(MessageChunk("```\n" + "".join(f"line {n}\n" for n in range(40))))
    assert drawing.wait(20)
    before = file.getvalue()
    shown.finish(None)

    assert "line 5\n" not in before.replace(" \n", "\n")
    assert "line 5" in file.getvalue()
