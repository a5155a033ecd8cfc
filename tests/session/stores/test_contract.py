"""What every store promises, whatever it keeps conversations in."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
import time

import pytest

from cloudllm_sync import (
    Attachment,
    CommitConflictError,
    ConfigurationError,
    MemoryStore,
    Message,
    Role,
    StoredSession,
    TokenUsage,
    ToolCall,
)

USAGE = TokenUsage(5, 3, 8)
NOTES = {"calibration": 1.25, "summary": {"upto": 4, "text": "Grüße \u2028 \0 😀"}, "none": None}
HI = Message(Role.USER, "hi")
HELLO = Message(Role.ASSISTANT, "Hello", usage=USAGE, model="m", finish_reason="stop")
FULL = (
    Message(Role.SYSTEM, ""),
    Message(
        Role.USER,
        "line\nline\r\n \u2028 \x00 \t \\ \" ' % ? :name 😀",
        attachments=(
            Attachment.from_bytes(bytes(range(256)), "application/pdf", name="ü.pdf"),
            Attachment.from_url("https://example.com/cat.png?sig=1"),
        ),
    ),
    Message(
        Role.ASSISTANT,
        "half a pair \ud83d, and so on",
        tool_calls=(ToolCall("c1", "look", '{"at": "th'), ToolCall("c2", "look", "")),
        reasoning="because",
        refusal="no",
        citations=("https://example.com", "2"),
        finish_reason="tool_calls",
        raw_finish_reason="tool_use",
        usage=TokenUsage(1, 2, 3, None, 0, 7),
        model="m",
        response_id="r",
        provider_state={"anthropic": [{"signature": "abc=", "deep": {"list": [1, None, 2.5]}}]},
    ),
    Message(Role.TOOL, "42", tool_call_id="c1"),
)
# What looks for names must not take for patterns.
ODD_NAMES = ["%", "%a", "*", "?", "[a]", "_", "_a", "a", "a%", "a*", "a_", "ab", "a\\", "A", "aB"]
ODD_NAMES += [
    "a b",
    "a ",
    " a",
    "ä",
    "a\u0308",
    "a😀",
    "a😀z",
    "\uffff",
    "😀",
    "chat:1",
    "{a}",
    "'",
    '"',
]


def talked(store, name="chat", turns=1):
    for version in range(turns):
        store.append(name, version, [HI, HELLO], USAGE)


def test_unknown_conversation_is_empty(store):
    """It has version 0, which the first change is based on."""
    assert StoredSession() == store.load("chat")


def test_everything_of_a_message_survives(store, place, open_store_on):
    """Whoever opens the place later finds what was said, to the last field."""
    store.append("chat", 0, FULL, None)

    assert FULL == open_store_on(place).load("chat").messages


def test_turn_is_added_whole(store):
    """Messages, version, length and usage move together."""
    store.append("chat", 0, [HI], None)

    store.append("chat", 1, [HELLO, HI], USAGE, notes=NOTES)

    assert StoredSession(2, (HI, HELLO, HI), 3, USAGE, USAGE, NOTES) == store.load("chat")


@pytest.mark.parametrize("newest", [0, 1, 3, 4, 5])
def test_newest_messages_are_given(store, newest):
    """As many as were asked for, in order; the length counts all."""
    messages = [Message(Role.USER, str(number)) for number in range(4)]
    store.append("chat", 0, messages[:3], None)
    store.append("chat", 1, messages[3:], None)

    stored = store.load("chat", newest=newest)

    assert (tuple(messages[max(0, 4 - newest) :]), 4) == (stored.messages, stored.length)


def test_usage_is_added_up(store):
    """A part that was never reported stays unknown; the last usage is that of the last turn."""
    store.append("chat", 0, [HI], TokenUsage(1, 2, 3, 4))
    store.append("chat", 1, [HI], TokenUsage(10, 20, 30, None, 5))

    stored = store.load("chat")

    assert TokenUsage(11, 22, 33, 4, 5, None) == stored.usage
    assert TokenUsage(10, 20, 30, None, 5) == stored.last_usage


def test_unknown_usage_leaves_the_sum(store):
    """What the last turn cost is unknown then."""
    talked(store)

    store.append("chat", 1, [HI], None)

    stored = store.load("chat")
    assert (USAGE, None) == (stored.usage, stored.last_usage)


def test_nothing_but_notes_can_be_added(store):
    """It is a change like any other."""
    talked(store)

    store.append("chat", 1, [], None, notes=NOTES)

    stored = store.load("chat")
    assert (2, 2, NOTES) == (stored.version, stored.length, stored.notes)


def test_notes_stay_until_new_ones_come(store):
    """New ones replace the old ones whole, and what the caller does to his own changes nothing."""
    notes = {"a": 1}
    store.append("chat", 0, [HI], None, notes=notes)
    notes["b"] = 2
    store.append("chat", 1, [HELLO], None)
    kept = store.load("chat").notes

    store.append("chat", 2, [HELLO], None, notes={"c": 3})

    assert [{"a": 1}, {"c": 3}] == [kept, store.load("chat").notes]


@pytest.mark.parametrize("base_version", [0, 1, 3, -1])
@pytest.mark.parametrize("way", ["append", "clear", "replace"])
def test_change_of_another_version_is_refused(store, way, base_version):
    """Nothing moves; the error says which version there is."""
    talked(store, turns=2)
    before = store.load("chat")
    given = {"append": ([HI], USAGE), "clear": (), "replace": (StoredSession(),)}[way]

    with pytest.raises(CommitConflictError, match=r"'chat'.*version 2"):
        getattr(store, way)("chat", base_version, *given)

    assert before == store.load("chat")


def test_change_of_an_unknown_conversation_is_refused_if_it_was_based_on_one(store):
    """It was deleted meanwhile."""
    with pytest.raises(CommitConflictError):
        store.append("chat", 3, [HI], None)

    assert store.sessions() == ()


def test_cleared_conversation_keeps_its_usage(store):
    """What was paid is paid; messages and notes are gone, and the next turn starts anew."""
    talked(store)
    store.append("chat", 1, [HI], USAGE, notes=NOTES)

    store.clear("chat", 2)

    assert StoredSession(3, (), 0, USAGE + USAGE, USAGE) == store.load("chat")
    store.append("chat", 3, [HELLO], None)
    assert (HELLO,) == store.load("chat").messages


@pytest.mark.parametrize("before", [0, 1])
def test_replaced_conversation_is_as_given(store, before):
    """All but the version, which goes on."""
    talked(store, turns=before)

    store.replace("chat", before, StoredSession(77, FULL, 4, USAGE + USAGE, USAGE, NOTES))

    assert StoredSession(before + 1, FULL, 4, USAGE + USAGE, USAGE, NOTES) == store.load("chat")


def test_long_conversation_is_replaced_whole(store):
    """Also with more messages than a database takes arguments."""
    messages = tuple(Message(Role.USER, str(number)) for number in range(9_000))

    store.replace("chat", 0, StoredSession(messages=messages))

    assert messages == store.load("chat").messages


def test_deleted_conversation_is_unknown(store):
    """It can be begun anew; deleting it again does nothing."""
    talked(store, turns=2)

    store.delete("chat")
    store.delete("chat")

    assert StoredSession() == store.load("chat")
    assert store.sessions() == ()
    talked(store)
    assert (1, 2) == (store.load("chat").version, store.load("chat").length)


def test_conversations_do_not_touch_each_other(store):
    """Names that differ in one letter's case, in a space or in composition are different."""
    for number, name in enumerate(ODD_NAMES):
        store.append(name, 0, [Message(Role.USER, str(number))], None)

    found = [store.load(name).messages[0].content for name in ODD_NAMES]

    assert [str(number) for number in range(len(ODD_NAMES))] == found


def test_table_of_contents_tells_what_is_there(store):
    """Length, usage, and when it was changed last."""
    began = time.time()
    talked(store, turns=2)
    store.append("empty", 0, [], None)

    chat, empty = store.sessions()

    assert ("chat", 4, USAGE + USAGE) == (chat.session_id, chat.length, chat.usage)
    assert ("empty", 0, TokenUsage(0, 0, 0)) == (empty.session_id, empty.length, empty.usage)
    assert began - 2 <= chat.updated_at <= time.time() + 2


def test_table_of_contents_by_prefix(store):
    """No character has a meaning of its own; the order is that of code points."""
    prefixes = ["", "a", "a%", "%", "_", "*", "[", "a\\", "😀", "\uffff", "zz", "A"]
    for name in ODD_NAMES:
        talked(store, name)

    found = {
        prefix: [info.session_id for info in store.sessions(prefix=prefix)] for prefix in prefixes
    }

    assert found == {
        prefix: sorted(name for name in ODD_NAMES if name.startswith(prefix)) for prefix in prefixes
    }


@pytest.mark.parametrize("prefix", ["", "a"])
def test_table_of_contents_by_pages(store, prefix):
    """A page begins after the last name of the one before; none is missing, none comes twice."""
    for name in ODD_NAMES:
        talked(store, name)

    for limit in [1, 4, 100]:
        found, after = [], ""
        while page := store.sessions(prefix=prefix, after=after, limit=limit):
            assert len(page) <= limit
            found += [info.session_id for info in page]
            after = found[-1]
        assert sorted(name for name in ODD_NAMES if name.startswith(prefix)) == found


def test_table_of_contents_after_a_name_that_is_gone(store):
    """A conversation that was deleted between two pages is no obstacle."""
    for name in ["a", "c"]:
        talked(store, name)

    found = [store.sessions(after="b"), store.sessions(prefix="a", after="b")]

    assert [["c"], []] == [[info.session_id for info in page] for page in found]


@pytest.mark.parametrize(
    "act",
    [
        lambda store, name: store.load(name),
        lambda store, name: store.append(name, 0, [HI], None),
        lambda store, name: store.clear(name, 0),
        lambda store, name: store.replace(name, 0, StoredSession()),
        lambda store, name: store.delete(name),
        lambda store, name: store.lease(name, "me", 1),
        lambda store, name: store.release(name, "me"),
    ],
)
def test_name_that_cannot_be_kept_is_refused(store, act):
    """By each method."""
    for name in ["", "a\0b", "\ud83d", "a" * 256]:
        with pytest.raises(ConfigurationError, match="session_id must be"):
            act(store, name)


@pytest.mark.parametrize(
    "page", [{"limit": 0}, {"limit": -1}, {"prefix": "\0"}, {"after": "\ud83d"}]
)
def test_page_that_cannot_be_given_is_refused(store, page):
    """Rather than given as something else."""
    with pytest.raises(ConfigurationError, match="must be"):
        store.sessions(**page)


def test_longest_name_is_kept(store):
    """Of letters that take the most bytes."""
    name = "😀" * 63

    talked(store, name)
    store.lease(name, "me", 1)

    assert [name] == [info.session_id for info in store.sessions()]


def test_lease_is_one_owners(store):
    """The other is told how long it lasts at most; the owner may ask again."""
    first = store.lease("chat", "mine", 60)
    refused = store.lease("chat", "yours", 60)
    again = store.lease("chat", "mine", 60)

    assert (0.0, 0.0) == (first, again)
    assert 0 < refused <= 60


def test_lease_of_a_conversation_is_no_lease_of_another(store):
    """Nor of one whose name differs in case alone; owners that differ so are two, too."""
    store.lease("chat", "mine", 60)

    assert store.lease("Chat", "yours", 60) == 0.0
    assert store.lease("chat", "Mine", 60) > 0


def test_lease_is_given_back_by_its_owner_alone(store):
    """What anybody else gives back was not his."""
    store.lease("chat", "mine", 60)

    store.release("chat", "yours")
    kept = store.lease("chat", "yours", 60)
    store.release("chat", "mine")
    store.release("chat", "mine")

    assert kept > 0
    assert store.lease("chat", "yours", 60) == 0.0


def test_lease_ends_by_itself(lasting_store):
    """Whoever asks then has it, and its old owner can't give it back any more."""
    store = lasting_store
    store.lease("chat", "dead", 0.05)
    deadline = time.monotonic() + 20

    while (wait := store.lease("chat", "mine", 60)) and time.monotonic() < deadline:
        assert wait <= 0.05
        threading.Event().wait(wait)

    store.release("chat", "dead")
    assert wait == 0.0
    assert store.leases_end
    assert store.lease("chat", "dead", 60) > 1


def test_lease_in_memory_stays():
    """It ends with the process, as what it protects."""
    store = MemoryStore()
    store.lease("chat", "mine", 0)

    assert not store.leases_end
    assert store.lease("chat", "yours", 5) == 5


def test_lease_is_made_longer(store):
    """By its owner, before it ends."""
    store.lease("chat", "mine", 0.5)

    store.lease("chat", "mine", 600)

    assert 1 < store.lease("chat", "yours", 600) <= 600


def test_lease_says_nothing_of_the_conversation(store):
    """It is not there for being leased, and deleting one gives no lease back."""
    store.lease("chat", "mine", 60)
    talked(store)
    store.delete("chat")

    assert store.sessions() == ()
    assert store.lease("chat", "yours", 60) > 0


def test_one_of_many_threads_wins(store):
    """All others are refused, and nothing of theirs is kept."""
    together = threading.Barrier(8)
    outcomes = []

    def race(number):
        for base_version in range(10):
            together.wait(60)
            try:
                store.append("chat", base_version, [Message(Role.USER, str(number))] * 2, USAGE)
                outcomes.append((base_version, number))
            except CommitConflictError:
                pass

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    outcomes.sort()
    stored = store.load("chat")
    assert list(range(10)) == [base_version for base_version, _ in outcomes]
    assert (10, TokenUsage(50, 30, 80)) == (stored.version, stored.usage)
    assert [str(number) for _, number in outcomes for _ in range(2)] == [
        message.content for message in stored.messages
    ]


def test_one_of_many_threads_notes(store):
    """Also where no message is added, which no two rows would collide in."""
    together = threading.Barrier(8)
    outcomes = []

    def race(number):
        for base_version in range(10):
            together.wait(60)
            try:
                store.append("chat", base_version, [], USAGE, notes={"by": number})
                outcomes.append((base_version, number))
            except CommitConflictError:
                pass

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    outcomes.sort()
    stored = store.load("chat")
    assert list(range(10)) == [base_version for base_version, _ in outcomes]
    assert {"by": outcomes[-1][1]} == stored.notes
    assert stored.usage == TokenUsage(50, 30, 80)


def test_reader_sees_whole_turns_only(store):
    """Version, length and messages belong together while others write, clear and replace."""
    done = threading.Event()
    torn = []

    def read():
        while not done.is_set():
            stored = store.load("chat")
            said = [message.content for message in stored.messages]
            if len(said) != stored.length or said not in ([], ["0"] * 2, ["1"] * 4):
                torn.append((stored.version, stored.length, said))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in range(0, 60, 3):
        store.append("chat", version, [Message(Role.USER, "0")] * 2, None)
        four = (Message(Role.USER, "1"),) * 4
        store.replace("chat", version + 1, StoredSession(messages=four))
        store.clear("chat", version + 2)
    done.set()
    for reader in readers:
        reader.join(60)

    assert torn == []


def test_closed_store_opens_again(store):
    """Closing twice is no mistake either."""
    talked(store)

    store.close()
    store.close()

    assert store.load("chat").length == 2


def test_copy_of_a_store_opens_the_same_place(place, store):
    """Where nothing is secret; elsewhere the error says what to do instead."""
    talked(store)

    for duplicate in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        if place.pickles:
            with contextlib.closing(duplicate(store)) as again:
                assert again.load("chat") == store.load("chat")
        else:
            with pytest.raises(TypeError, match=r": make "):
                duplicate(store)
