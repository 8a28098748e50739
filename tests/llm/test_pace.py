"""Turns at a server: bounded, in order, and passed on by those who give up waiting."""

import asyncio
import time

import pytest

from vidreason.llm.online import Pace


async def take(pace: Pace, log: list, name: int, hold_s: float = 0.0) -> None:
    async with pace.turn():
        log.append(name)
        await asyncio.sleep(hold_s)


def test_turns_are_bounded_and_in_order():
    async def run():
        pace, log, most = Pace(3), [], 0

        async def work(name):
            nonlocal most
            async with pace.turn():
                log.append(name)
                most = max(most, pace.in_flight)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(work(name) for name in range(20)))
        assert log == list(range(20)) and most == 3 and pace.in_flight == 0

    asyncio.run(run())


def test_who_gives_up_waiting_passes_the_turn_on():
    async def run():
        pace, log = Pace(1), []
        first = pace.turn()
        await first.__aenter__()
        waiting = [asyncio.create_task(take(pace, log, name)) for name in (1, 2, 3)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # before its turn has come
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)
        assert pace.in_flight == 1  # the next one's place is counted before it has noticed
        waiting[1].cancel()  # and it gives up before it has
        await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1.0)
        assert log == [3] and pace.in_flight == 0

    asyncio.run(run())


def test_errors_give_the_turn_back():
    async def run():
        pace = Pace(1)
        with pytest.raises(RuntimeError):
            async with pace.turn():
                raise RuntimeError
        await asyncio.wait_for(take(pace, [], 0), 1.0)

    asyncio.run(run())


def test_a_crowd_halves_the_limit_once_and_takes_one_off_each():
    pace = Pace(32)
    began = time.monotonic()
    pace.slow_down(began, 0.0)
    assert pace.limit == 16
    for _ in range(6):
        pace.slow_down(began, 0.0)
    assert pace.limit == 10
    pace.slow_down(time.monotonic(), 0.0)  # the next crowd
    assert pace.limit == 5
    for _ in range(50):
        pace.slow_down(began, 0.0)
    assert pace.limit == 1


def test_the_limit_grows_again_by_one_a_round():
    pace = Pace(8)
    pace.slow_down(time.monotonic(), 0.0)
    assert pace.limit == 4
    for _ in range(5):
        pace.went_well()
    assert pace.limit == 5
    for _ in range(1000):
        pace.went_well()
    assert pace.limit == 8


def test_nobody_goes_before_the_wait_is_over():
    async def run():
        pace, log = Pace(4), []
        pace.slow_down(time.monotonic(), 0.1)
        pace.slow_down(time.monotonic(), 0.05)  # a shorter wait does not shorten the longer one
        began = time.monotonic()
        await asyncio.gather(*(take(pace, log, name) for name in range(4)))
        assert time.monotonic() - began >= 0.09

    asyncio.run(run())


def test_silence_is_counted_by_crowds(monkeypatch):
    monkeypatch.setattr("vidreason.llm.online._FIRST_SILENCE_S", 0.0)
    pace = Pace(8)
    began = time.monotonic()
    assert [pace.found_nobody(began) for _ in range(5)] == [1] * 5 and pace.limit == 1
    assert pace.found_nobody(time.monotonic()) == 2
    pace.was_reached()
    assert pace.found_nobody(time.monotonic()) == 1


@pytest.mark.parametrize("max_in_flight", [0, -1])
def test_bounds_that_make_no_sense(max_in_flight):
    with pytest.raises(ValueError, match="max_in_flight"):
        Pace(max_in_flight)
