"""What of a turn enters the history, and when."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    ServerError,
    StreamCancelled,
    StreamInterrupted,
    TokenUsage,
    ToolCall,
)
from cloudllm_sync.testing import Cut, Raw, Reply, Stall, error_reply, openai_events

HELLO = [("user", "hi"), ("assistant", "Hello there")]
NOTHING = TokenUsage(0, 0, 0)

# Event 1 opens the stream, 2 and 3 are the words, 4 has the finish reason, 5 the usage.
CUT = Reply("Hello there", after={2: Cut()})
STALLED = Reply("Hello there", after={2: Stall()})
STALLED_AFTER_FINISH = Reply("Hello there", after={4: Stall()})
CALL = ToolCall("call_1", "weather", '{"city": "Oslo"}')
CUT_IN_CALL = Reply("Let me see", tool_calls=(CALL,), after={6: Cut()})


def test_whole_reply_enters_the_history(talk, said):
    """ask() adds the question and the answer."""
    session, _ = talk("Hello there")

    reply = session.ask("hi")

    assert said(session) == HELLO
    assert session.history[-1] is reply


def test_history_holds_the_reply_when_the_loop_ends(talk, said):
    """Nothing has to be called after the loop."""
    session, _ = talk("Hello there")

    text = "".join(chunk.content for chunk in session.stream("hi"))

    assert text == "Hello there"
    assert said(session) == HELLO


def test_reply_is_committed_before_the_iteration_stops(talk, said):
    """Whoever sees StopIteration sees the history with the reply, never without."""
    session, _ = talk("Hello there")
    stream = session.stream("hi")
    before = []

    for _ in range(4):
        next(stream)
        before.append(said(session))
    with pytest.raises(StopIteration):
        next(stream)

    assert before == [[]] * 4
    assert said(session) == HELLO


def test_reply_is_committed_before_on_finish(talk, said, patience_s):
    """The callback sees the history with the reply."""
    session, _ = talk("Hello there")
    seen = []

    handle = session.submit("hi", on_finish=lambda message: seen.append(said(session)))

    assert handle.result(patience_s).content == "Hello there"
    assert seen == [HELLO]


def test_result_is_the_message_in_the_history(talk):
    """The stream's result and the history are one object."""
    session, _ = talk("Hello there")

    reply = session.stream("hi").result()

    assert session.history[-1] is reply


def test_next_turn_sends_the_whole_conversation(talk, said):
    """System prompt, both messages of the first turn, and the new one."""
    session, server = talk("Hello there", "Bye", system_prompt="Be brief.")

    session.ask("hi")
    session.stream("so long").result()

    assert said(server.requests[1].json["messages"]) == [
        ("system", "Be brief."),
        *HELLO,
        ("user", "so long"),
    ]


@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_refused_turn_leaves_nothing(talk, way, patience_s, said):
    """Status 400: no question without an answer; the next turn is fine."""
    session, _ = talk(error_reply(400, "no"), "Hello there")

    with pytest.raises(Exception, match="no"):
        if way == "submit":
            session.submit("lost").result(patience_s)
        else:
            getattr(session, way)("lost")

    assert session.history == ()
    assert session.token_usage == NOTHING
    assert session.ask("hi").content == "Hello there"
    assert said(session) == HELLO


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (CUT, StreamInterrupted),
        (CUT_IN_CALL, StreamInterrupted),
        (Reply("Hello", error={"message": "overloaded", "type": "server_error"}), ServerError),
        (Reply("Hello", finish_reason="", done=False), StreamInterrupted),
    ],
    ids=["cut", "cut in a tool call", "error event", "no finish reason"],
)
def test_failed_stream_leaves_nothing(talk, reply, kind, said):
    """The text that had arrived is in the error, not in the history."""
    session, _ = talk(reply, "Hello there")

    with pytest.raises(kind) as caught:
        session.stream("lost").result()

    assert caught.value.partial.content
    assert session.history == ()
    session.ask("hi")
    assert said(session) == HELLO


def test_failed_submit_leaves_nothing(talk, patience_s):
    """As with the generator; on_error sees it so already."""
    session, _ = talk(CUT)
    seen = []

    handle = session.submit("hi", on_error=lambda error: seen.append((error, session.history)))

    assert handle.join(patience_s)
    ((error, history),) = seen
    assert isinstance(error, StreamInterrupted)
    assert error.partial.content == "Hello"
    assert history == ()


def test_cancelled_turn_leaves_nothing(talk, said):
    """cancel() in mid-stream."""
    session, _ = talk(STALLED, "Hello there")
    stream = session.stream("lost")
    next(stream)
    stream.cancel()

    with pytest.raises(StreamCancelled):
        stream.result()

    assert session.history == ()
    session.ask("hi")
    assert said(session) == HELLO


@pytest.mark.parametrize("leave", ["close", "break", "with"])
def test_turn_left_before_the_finish_leaves_nothing(talk, said, leave):
    """A reply that was not read to its finish reason counts as cancelled."""
    session, _ = talk(STALLED, "Hello there")

    if leave == "with":
        with session.stream("lost") as stream:
            next(stream)
    else:
        stream = session.stream("lost")
        for chunk in stream:
            if chunk.content:
                break
        stream.close()

    assert session.history == ()
    session.ask("hi")
    assert said(session) == HELLO


def test_error_in_the_loop_body_leaves_nothing(talk):
    """The reader's own exception ends the with block, and the turn with it."""
    session, _ = talk(STALLED)

    with pytest.raises(ZeroDivisionError), session.stream("lost") as stream:
        next(stream)
        raise ZeroDivisionError

    assert session.history == ()


def test_break_after_the_finish_commits(talk, said):
    """The reply is whole; only its usage is unknown."""
    session, _ = talk(STALLED_AFTER_FINISH, "Bye")

    with session.stream("hi") as stream:
        for chunk in stream:
            if chunk.finish_reason:
                break

    assert said(session) == HELLO
    assert session.last_token_usage is None
    assert session.history[-1].finish_reason == "stop"
    assert session.ask("so long").content == "Bye"


def test_cancel_after_the_finish_leaves_nothing(talk):
    """Who cancels does not want it, however far it has come."""
    session, _ = talk(STALLED_AFTER_FINISH)

    with session.stream("hi") as stream:
        for chunk in stream:
            if chunk.finish_reason:
                break
        stream.cancel()

    assert session.history == ()


def test_keep_keeps_question_and_partial_reply_of_a_failure(talk, said):
    """partial="keep": the text that came, marked as broken off."""
    session, _ = talk(CUT, partial="keep")

    with pytest.raises(StreamInterrupted):
        session.stream("hi").result()

    assert said(session) == [("user", "hi"), ("assistant", "Hello")]
    assert session.history[-1].finish_reason == "error"


def test_keep_keeps_the_partial_reply_of_a_cancel(talk, said):
    """partial="keep": the reason says that it was the user's wish."""
    session, server = talk(STALLED, "Bye", partial="keep")

    with session.stream("hi") as stream:
        for chunk in stream:
            if chunk.content:
                break
    session.ask("go on")

    assert said(session)[:2] == [("user", "hi"), ("assistant", "Hello")]
    assert session.history[1].finish_reason == "cancelled"
    assert said(server.requests[1].json["messages"])[1] == ("assistant", "Hello")


def test_keep_drops_half_written_tool_calls(talk, said):
    """Half a call can neither be run nor answered."""
    session, _ = talk(CUT_IN_CALL, partial="keep")

    with pytest.raises(StreamInterrupted) as caught:
        session.stream("weather?").result()

    assert caught.value.partial.tool_calls
    assert said(session) == [("user", "weather?"), ("assistant", "Let me see")]
    assert session.history[-1].tool_calls == ()


@pytest.mark.parametrize("reply", [error_reply(400, "no"), Raw(Cut()), Reply("", after={1: Cut()})])
def test_keep_keeps_nothing_where_no_text_came(talk, reply):
    """A question alone would stand unanswered in every later request."""
    session, _ = talk(reply, partial="keep")

    with pytest.raises(Exception, match=r".") as caught:
        session.stream("hi").result()

    assert not isinstance(caught.value, AssertionError)
    assert session.history == ()


def test_keep_does_not_touch_whole_replies(talk, said):
    """partial="keep" changes nothing where nothing fails."""
    session, _ = talk("Hello there", partial="keep")

    session.stream("hi").result()

    assert said(session) == HELLO
    assert session.history[-1].finish_reason == "stop"


def test_usage_adds_up(talk):
    """token_usage is the sum, last_token_usage the last turn's."""
    session, _ = talk(
        Reply("one", usage=TokenUsage(5, 1, 6)), Reply("two", usage=TokenUsage(7, 2, 9))
    )
    assert session.last_token_usage is None

    session.ask("hi")
    session.stream("again").result()

    assert session.token_usage.total_tokens == 15
    assert session.last_token_usage.total_tokens == 9


def test_unknown_usage_counts_as_nothing(talk):
    """A server without usage leaves the sum alone."""
    session, _ = talk(Reply("one", usage=TokenUsage(5, 1, 6)), Reply("two", usage=None))

    session.ask("hi")
    session.ask("again")

    assert session.token_usage.total_tokens == 6
    assert session.last_token_usage is None


def test_chunks_that_were_missed_do_not_matter(talk, said):
    """result() after a few next() has everything."""
    session, _ = talk(Raw(*openai_events(Reply("Hello there"))))
    stream = session.stream("hi")
    next(stream)

    stream.result()

    assert said(session) == HELLO
