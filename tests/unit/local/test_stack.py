"""In which order the parts of the local stack are started and stopped."""

import contextlib
import shutil
import threading

import pytest

from local import deploy, emulator, stack, state


def test_a_first_start_stops_no_process_after_its_own_synthesis_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    synthesizing = threading.Event()

    def synthesize() -> None:
        calls.append("synthesize")
        synthesizing.set()

    def start() -> emulator.EmulatorSettings:
        assert synthesizing.wait(5)
        calls.append("start the emulator")
        return emulator.EmulatorSettings(1, 2, "secret")

    def stop_processes(role: str | None = None) -> bool:
        calls.append(f"stop {role or 'all'}")
        return False

    monkeypatch.setattr(deploy, "fingerprint", lambda: "hash")
    monkeypatch.setattr(deploy, "synthesize", synthesize)
    monkeypatch.setattr(deploy, "bootstrap", lambda: None)
    monkeypatch.setattr(deploy, "deploy", lambda: None)
    monkeypatch.setattr(emulator, "start", start)
    monkeypatch.setattr(emulator, "save", lambda: None)
    monkeypatch.setattr(state, "stop_processes", stop_processes)
    monkeypatch.setattr(state, "spawn", lambda role, _: calls.append(f"start {role}"))
    monkeypatch.setattr(state, "load", lambda: None)
    monkeypatch.setattr(state, "save", lambda _: None)
    monkeypatch.setattr(state, "deployed", lambda: None)
    monkeypatch.setattr(state, "remove_data", lambda: None)
    monkeypatch.setattr(state, "forget", lambda: None)
    monkeypatch.setattr(state, "changing", contextlib.nullcontext)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    stack.up(lambda _: contextlib.nullcontext())
    assert calls.index("synthesize") > calls.index("stop all")
    assert calls.count("stop all") == 1
