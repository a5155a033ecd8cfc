"""What the chat page asks for, whatever the web framework: conversations and running replies."""

from __future__ import annotations

import abc
import contextlib
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Optional

from running import Running

from cloudllm_sync import (
    ChatStream,
    Client,
    CloudLLMError,
    ConfigurationError,
    LLMSession,
    Message,
    MessageChunk,
    Role,
    SessionBusyError,
    SessionStore,
)
from cloudllm_sync.relay import Followed, Relay, RelayKeyError

_TITLE_CHARACTERS = 40


class Conversations(abc.ABC):
    """Conversations in a store, and the replies that are on their way just now.

    Store, relay and `running` may be shared by any number of processes. `running` knows a reply by
    its conversation, and by its key.
    """

    begins_within_s = 5.0

    def __init__(self, store: SessionStore, relay: Relay, running: Running) -> None:
        self.store = store
        self.relay = relay
        self.running = running

    @abc.abstractmethod
    def begin(self, chat: str, text: str) -> str:
        """Ask; the key under which the reply is to be followed."""

    def follow(self, key: str, after: Optional[str]) -> Followed:
        """A reply from its beginning, or the rest of it for a browser whose line was cut.

        One that was asked for may still wait for whoever publishes it.
        """
        is_asked = self.running.get(key) is not None
        return self.relay.follow(key, after=after, wait_s=self.begins_within_s if is_asked else 0)

    def stop(self, key: str) -> bool:
        """End a reply; whether it was on its way."""
        return self.relay.cancel(key)

    def all(self) -> list[dict[str, str]]:
        """Every conversation that has a turn, the latest first."""
        latest = sorted(self.store.sessions(), key=lambda info: info.updated_at, reverse=True)
        names = [info.session_id for info in latest]
        return [{"id": name, "title": _title(self.store.load(name).messages)} for name in names]

    def one(self, chat: str) -> dict[str, Any]:
        """The messages of a conversation, and its running reply."""
        running = self.running.get(chat)
        history = self.store.load(chat).messages
        if running is not None and len(history) > int(running["behind"]):
            running = None  # its turn is among the messages already
        shown = [message for message in history if message.role in (Role.USER, Role.ASSISTANT)]
        return {
            "title": _title(history),
            "messages": [
                {"role": message.role.value, "text": message.content, "note": _note(message)}
                for message in shown
            ],
            "running": running,
        }

    def delete(self, chat: str) -> None:
        """Forget a conversation, and a reply that is on its way to it."""
        running = self.running.get(chat)
        if running is not None:
            self.stop(running["key"])
            with contextlib.suppress(CloudLLMError):
                self.follow(running["key"], None).result()  # its turn is in the store by then
            self.running.drop(chat, running)
        self.store.delete(chat)

    def new_question(self, chat: str, text: str) -> dict[str, str]:
        """What is noted of a question: its reply's key, and how many messages were before it."""
        behind = self.store.load(chat, newest=0).length
        return {"key": str(uuid.uuid4()), "text": text, "behind": str(behind)}

    def publish(self, chat: str, asked: dict[str, str], stream: ChatStream) -> None:
        """Read a reply to its end for all who follow it."""
        try:
            self.relay.publish(stream, asked["key"])
        except CloudLLMError:
            pass  # whoever follows is told
        finally:
            self.running.drop(chat, asked)
            self.running.drop(asked["key"], asked)


class Chats(Conversations):
    """Conversations with a model.

    A reply is read on a thread of its own and published: the page may be closed and opened again,
    in two tabs, too.
    """

    def __init__(self, client: Client, store: SessionStore, relay: Relay, running: Running) -> None:
        super().__init__(store, relay, running)
        self.client = client

    def begin(self, chat: str, text: str) -> str:
        """Ask.

        Raises:
            CloudLLMError: The provider refused, or another turn is running.
        """
        asked = self.new_question(chat, text)
        stream = self._session(chat).stream(text)
        try:
            self.running.put(asked["key"], asked)
            self.running.put(chat, asked)
        except BaseException:
            stream.close()  # or it would keep the conversation busy
            raise
        threading.Thread(target=self.publish, args=(chat, asked, stream), daemon=True).start()
        return asked["key"]

    def answer(self, chat: str, asked: dict[str, str]) -> None:
        """Ask and publish on this thread: what a task does. A refusal is published, too."""
        with contextlib.suppress(RelayKeyError):
            self.relay.follow(asked["key"])  # raises, unless it was stopped before it began
            self.running.drop(chat, asked)
            return
        try:
            stream = self._session(chat).stream(asked["text"])
        except CloudLLMError as error:
            self.publish(chat, asked, ChatStream.of(_refused(error)))
            return
        self.running.put(chat, asked)
        self.publish(chat, asked, stream)

    def _session(self, chat: str) -> LLMSession:
        """A conversation. A second turn is refused at once; what was stopped is kept."""
        return LLMSession(
            self.client, session_id=chat, store=self.store, turn_timeout=0, partial="keep"
        )


def text_of(body: bytes) -> str:
    """The text that a page sends.

    Raises:
        ConfigurationError: It sent something else.
    """
    try:
        text = json.loads(body)["text"]
    except (ValueError, TypeError, KeyError, RecursionError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise ConfigurationError('the body must be JSON, as {"text": "Hello"}')
    return text


def refusal(error: CloudLLMError) -> tuple[str, int]:
    """What to tell the page of an error, and with which status."""
    if isinstance(error, SessionBusyError):
        return "Another reply is on its way.", 409
    if isinstance(error, RelayKeyError):
        return str(error), 404
    if isinstance(error, ConfigurationError):
        return str(error), 400
    # What the provider says may quote a key or a prompt; the log of the server has it.
    logging.getLogger("chat").warning("refused: %s: %s", type(error).__name__, error)
    return "The model does not answer, try again later.", 502


def _refused(error: CloudLLMError) -> Iterator[MessageChunk]:
    raise error
    yield


def _title(messages: tuple[Message, ...]) -> str:
    first = next((one.content for one in messages if one.role is Role.USER), "New conversation")
    return first if len(first) <= _TITLE_CHARACTERS else f"{first[:_TITLE_CHARACTERS]}…"


def _note(message: Message) -> str:
    if message.finish_reason == "cancelled":
        return "\nStopped"
    usage = message.usage
    return f"\n{usage.input_tokens} tokens read, {usage.output_tokens} written" if usage else ""
