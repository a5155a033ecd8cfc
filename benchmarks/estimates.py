"""How far a session's estimates are from what a provider reports, after ten turns.

Sessions of forty turns with a client in this process, which counts what it is sent in a way of its
own and reports that as usage. Three such ways stand in for tokenizers, as those of the providers
are not to be had without downloads: one with large pieces (as GPT-4o's), one with small ones (as
older models'), and 1.3 tokens a word. They differ by a factor of 3 on the same text, and put 3 to 8
tokens around a message and up to 60 around a request, of which the session knows nothing.

    python benchmarks/estimates.py [--turns 40]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import pathlib
import random
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # runs in a clone, too

from cloudllm_sync import LLMSession, Message, Role, TokenUsage, ToolDefinition

WORDS = {
    "English": "the of and to in that was his he it with is for as had you not be her on at by "
    "which have or from this him but all she they were my are me one their so an said them we who "
    "would been will no when there if more out up into do any your what has man could other than "
    "connected remember considering particularly information development responsibility",
    "German": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als "
    "auch es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über so "
    "Geschwindigkeitsbegrenzung Verantwortung Entwicklung Möglichkeiten Straßenverkehr",
    "Russian": "и в не на я быть он с что а по это она этот к но они мы весь который из у то за "
    "свой год от так о для ты же тот мочь вы человек такой его сказать только или ещё бы себя "
    "говорить ответственность развитие",
}
CHINESE = (
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对"
)
PIECE = re.compile(r" ?[^\W\d_]+|\d{1,3}| ?[^\s\w]+|\s+|_")
KINDS = (*WORDS, "Chinese", "code", "JSON")
MIXED = "any of these"
LIMITS = {1_000: (100, 300), 8_192: (200, 800, 3_000), 32_000: (300, 3_000, 9_000)}
"""`max_tokens`, and the usual lengths of messages in such a session, in characters."""


def text(kind: str, size: int, rnd: random.Random) -> str:
    """So many characters, about, of one kind."""
    if kind == MIXED:
        kind = rnd.choice(KINDS)
    if kind == "Chinese":
        return "".join(rnd.choice(CHINESE + "，。") for _ in range(size // 2))
    if kind == "JSON":
        rows = [
            {"id": f"{rnd.getrandbits(64):016x}", "name": word(rnd), "price": rnd.random()}
            for _ in range(1 + size // 80)
        ]
        return json.dumps(rows)
    make = line_of_code if kind == "code" else lambda rnd: word(rnd, kind) + " "
    pieces: list[str] = []
    while sum(map(len, pieces)) < size:
        pieces.append(make(rnd))
    return "".join(pieces)


def word(rnd: random.Random, kind: str = "English") -> str:
    return rnd.choice(WORDS[kind].split()) + rnd.choice(["", "", "", "", ",", "."])


def line_of_code(rnd: random.Random) -> str:
    a, b = rnd.choice(WORDS["English"].split()), rnd.choice(WORDS["English"].split())
    return rnd.choice(
        [
            f"    def {a}_{b}(self, {a}):\n",
            f"        if {a} is not None and {b}[{rnd.randint(0, 999)}] == '{a}':\n",
            f"            return self.{a}({b})\n",
            f"        {a} = {b} + {rnd.randint(0, 99)}\n\n",
        ]
    )


def pieces(words: str, *, latin: float, cyrillic: float, han: float, other: float) -> int:
    """Tokens of a tokenizer whose pieces are about so many characters long."""
    tokens = 0
    for piece in PIECE.findall(words):
        core = piece.strip() or " "
        per_token = other
        if core[0].isalpha():
            per_token = han if core[0] >= "一" else cyrillic if core[0] >= "Ѐ" else latin
        tokens += math.ceil(len(core) / per_token)
    return tokens


def large(words: str) -> int:
    return pieces(words, latin=7, cyrillic=4.5, han=1.4, other=3)


def small(words: str) -> int:
    return pieces(words, latin=3.7, cyrillic=2.2, han=0.8, other=1)


def by_words(words: str) -> int:
    han = sum(char >= "一" for char in words)
    return han + math.ceil(len(words.split()) * 1.3)


COUNTERS: dict[str, tuple[Callable[[str], int], int, int]] = {
    "large pieces": (large, 3, 3),
    "small pieces": (small, 8, 60),
    "1.3 a word": (by_words, 4, 0),
}
"""How each counts a text, and what it adds to a message and to a request."""


class Counting:
    """A client that counts what it is sent, and notes how far off the session's estimate was."""

    model_name = provider_name = "counting"

    def __init__(self, counter: str, replies: Iterator[str]) -> None:
        self._count, self._message, self._request = COUNTERS[counter]
        self._replies = replies
        self.session: LLMSession
        self.seen: list[tuple[float, float]] = []

    def send_message(
        self, messages: Sequence[Message], tools: Sequence[ToolDefinition] | None = None
    ) -> Message:
        tokens = self._request
        tokens += sum(self._message + self._count(message.content) for message in messages)
        estimates = self.session._conversation.context.estimates
        estimate = sum(map(estimates.tokens, messages))
        self.seen.append((estimate / tokens - 1, tokens / self.session.max_tokens - 1))
        return Message(Role.ASSISTANT, next(self._replies), usage=TokenUsage(tokens, 1, tokens + 1))

    def send_message_stream(
        self, messages: Sequence[Message], tools: Sequence[ToolDefinition] | None = None
    ) -> None:
        """It cannot."""


def talk(kind: str, counter: str, max_tokens: int, turns: int, seed: int) -> Counting:
    """A session of so many turns."""
    rnd = random.Random(seed)

    def say() -> str:
        usual = rnd.choice(LIMITS[max_tokens])
        return text(kind, int(usual * rnd.uniform(0.3, 1.7)), rnd)

    client = Counting(counter, (say() for _ in itertools.count()))
    client.session = LLMSession(client, "Be brief.", max_tokens)
    for _ in range(turns):
        client.session.ask(say())
    return client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=40)
    turns = parser.parse_args().turns
    print(
        f"turns 11 to {turns}, max_tokens {', '.join(map(str, LIMITS))}, {len(COUNTERS)} counters"
    )
    print(f"{'text':14}{'median':>8}{'95 %':>8}{'worst':>8}{'over max_tokens':>20}{'by':>8}")
    everything: list[tuple[float, float]] = []
    for kind in (*KINDS, MIXED):
        seen = [
            pair
            for counter in COUNTERS
            for max_tokens in LIMITS
            for seed in range(3)
            for pair in talk(kind, counter, max_tokens, turns, seed).seen[10:]
        ]
        show(kind, seen)
        everything += seen if kind != MIXED else []
    show("of one kind", everything)


def show(label: str, seen: list[tuple[float, float]]) -> None:
    errors = sorted(abs(error) for error, _ in seen)
    over = [excess for _, excess in seen if excess > 0]
    print(
        f"{label:14}{statistics.median(errors):8.1%}{errors[int(0.95 * len(errors))]:8.1%}"
        f"{errors[-1]:8.1%}{f'{len(over)} of {len(seen)}':>20}{max(over, default=0):8.1%}"
    )


if __name__ == "__main__":
    main()
