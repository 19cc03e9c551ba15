"""Observers begin in order and end in the opposite one, however the run ends."""

from collections.abc import Sequence

import pytest

from fedqs_ray.core.interfaces import Observer, observe


class Noted(Observer):
    """Notes its calls."""

    def __init__(self, name: str, calls: list[str], broken: bool = False) -> None:
        self.name, self.calls, self.broken = name, calls, broken

    def begin(self) -> None:
        if self.broken:
            raise OSError("full")
        self.calls.append(f"begin {self.name}")

    def end(self, error: BaseException | None) -> None:
        self.calls.append(f"end {self.name}: {error}")


def watch(observers: Sequence[Observer], error: Exception | None = None) -> None:
    with observe(observers):
        if error:
            raise error


def test_the_first_to_begin_is_the_last_to_end() -> None:
    calls: list[str] = []
    watch([Noted("a", calls), Noted("b", calls), Observer()])
    assert calls == ["begin a", "begin b", "end b: None", "end a: None"]


def test_an_error_is_passed_to_all_and_on() -> None:
    calls: list[str] = []
    with pytest.raises(ValueError, match="boom"):
        watch([Noted("a", calls), Noted("b", calls)], ValueError("boom"))
    assert calls == ["begin a", "begin b", "end b: boom", "end a: boom"]


def test_those_that_began_before_one_that_cannot_hear_of_it() -> None:
    calls: list[str] = []
    with pytest.raises(OSError, match="full"):
        watch([Noted("a", calls), Noted("b", calls, broken=True), Noted("c", calls)])
    assert calls == ["begin a", "end a: full"]
