"""Classes that several threads decode for the first time, each script in a process of its own: what
goes wrong there is the end of the process.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap
from typing import Optional, Union

import attrs
import pytest

from cloudllm_sync import known_types
from cloudllm_sync.known_types import known

ROOT = str(pathlib.Path(__file__).resolve().parents[1])

PROLOGUE = """
import sys, threading
from typing import Optional
import attrs
from cloudllm_sync import Message, Role
from cloudllm_sync.records import message_from_record
from cloudllm_sync.schemas import schema_of

sys.setswitchinterval(1e-6)  # of threads: any moment may be the one

def at_once(function, count=4):
    barrier, found = threading.Barrier(count), []
    def work():
        barrier.wait()
        found.append(function())
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found

def new_class():
    @attrs.define
    class Part:
        a: int = 0

    class Whole:
        __annotations__ = {f"f{n}": Optional[Part] for n in range(20)}

    for n in range(20):
        setattr(Whole, f"f{n}", None)
    return attrs.define(Whole)
"""


def printed(script):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PROLOGUE + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


SCRIPTS = {
    "replies": """
        reply = Message(Role.ASSISTANT, '{"f0": {"a": 1}, "f19": {"a": 2}}')
        for _ in range(50):
            kind = new_class()
            print(len({whole.f19.a for whole in at_once(lambda: reply.parsed(kind))}))
        """,
    "schemas and replies": """
        reply = Message(Role.ASSISTANT, '{"f0": {"a": 1}, "f19": {"a": 2}}')
        for _ in range(50):
            kind, first = new_class(), iter([True, False, True, False])
            at_once(lambda: schema_of(kind) if next(first) else reply.parsed(kind))
            print(1)
        """,
    "records": """
        record = {"role": "assistant", "content": "hi", "usage": {"input_tokens": 1}}
        record["usage"].update(output_tokens=2, total_tokens=3)
        print(*(1 for _ in at_once(lambda: message_from_record(record), 50)))
        """,
}


@pytest.mark.parametrize("what", SCRIPTS)
def test_threads_may_meet_a_class_together(what):
    """None of them reads what another has not yet written."""
    assert printed(SCRIPTS[what]) == ["1"] * 50


@attrs.frozen
class Branch:
    """Holds itself."""

    left: Optional[Branch] = None


@pytest.mark.parametrize("kind", [Branch, list[Branch], Optional[Branch], int, None])
def test_type_is_given_back(kind):
    """Whatever msgspec can decode, as often as it is asked for."""
    assert [known(kind), known(kind)] == [kind, kind]


def test_what_cannot_be_decoded_is_told():
    """Each time: nothing is remembered of it."""
    for _ in range(2):
        with pytest.raises(TypeError):
            known(Union[set[int], list[int]])


def test_programs_may_make_classes_for_ever(monkeypatch):
    """Not all of them are kept."""
    monkeypatch.setattr(known_types, "_MOST", 10)
    for _ in range(30):
        known(type("New", (), {}))

    assert len(known_types._known) <= 10
