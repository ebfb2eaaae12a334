"""One shard, ours as long as the manager answers our beats."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

import aiohttp

from shardman._manager import (
    AWAY,
    LONG_POLL_TIMEOUT,
    RELEASE_TIMEOUT,
    LeaseLost,
    Manager,
    Refused,
    ResumePoint,
    State,
    log,
    now,
)

T = TypeVar("T")

# The part of the lease time that may pass unanswered, counted from when the
# last answered beat was sent: the manager counts from when it arrived.
SHARE = 0.8
# What a manager that does not say so means by MAX_SECONDS.
MAX_SECONDS = 60.0
# Between a failed beat and the next try.
RETRY = 0.5
# Changes of state that may wait while the manager is away.
CHANGES_MAX = 64
# A permit that may have waited longer than this to be read is not used: the
# process or its host stood still, and the line has moved on.
STALE = 3.0
# How often a clock that counts suspends is looked at.
GLANCE = 1.0

End = Literal["lost", "drain"]


class Lease:
    """One shard. `start` begins the beats; `ended` tells when it is to be given up.

    Attributes:
        shard_id: The number of the shard.
        shard_count: Of how many, Discord's `num_shards`.
        resume: Where the last holder of this shard stopped, if Discord may still know its session.
        gateway_url: Where Discord's gateway is, if the manager knows.
        figures: What the beats say: `guild_count`, `latency` in seconds, `gateway` (a resume point),
            `last_event_age` in seconds, `event_count` of this lease. Called before each beat.
        on_silent: Called when the manager was silent too long: close the gateway, resumably, at once.
        on_reconnect: Called when the manager wants the shard on another gateway connection.
    """

    def __init__(self, manager: Manager, answer: Mapping[str, Any], sent: float) -> None:
        self.shard_id = int(answer["shard_id"])
        self.shard_count = int(answer["max_shards"])
        self.gateway_url: str | None = answer.get("gateway_url")
        self.resume = _resume_point(answer.get("resume"))
        self.figures: Callable[[], Mapping[str, Any]] = dict
        self.on_silent: Callable[[], object] = lambda: None
        self.on_reconnect: Callable[[], object] = lambda: None
        self._manager = manager
        self._session_id = str(answer["session_id"])
        self._epoch = answer.get("epoch")
        self._lease_time = _positive(answer.get("max_seconds")) or MAX_SECONDS
        self._heartbeat = _positive(answer.get("heartbeat_seconds")) or min(10.0, self._lease_time / 6)
        self._deadline = sent + SHARE * self._lease_time
        self._number = 0
        self._heard = False
        self._changes: deque[tuple[State, int | None, asyncio.Future[None]]] = deque(maxlen=CHANGES_MAX)
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        # The session id keeps or releases the lease: never shown.
        return f"<Lease shard {self.shard_id} of {self.shard_count}>"

    def start(self) -> None:
        """Begin to beat."""
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._watch())]

    @property
    def expired(self) -> bool:
        """Whether the shard may be somebody else's by now. Look before each use of the gateway."""
        return self._ended.done() or now() >= self._deadline

    async def ended(self) -> End:
        """Wait until the lease is `lost`, or the manager wants it back (`drain`)."""
        return await asyncio.shield(self._ended)

    async def held(self) -> None:
        """Wait until a beat has been answered in time. Raises `LeaseLost`."""
        while self.expired or not self._heard:
            if self._ended.done():
                raise LeaseLost
            self._answered.clear()
            await self._answered.wait()

    def report(self, state: State, close_code: int | None = None) -> asyncio.Future[None]:
        """Tell a new state at once, in order; the future is done when the manager has heard it.

        `identifying` says that a permit was just used, so it belongs right after IDENTIFY.
        """
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.append((state, close_code, told))
        self._changed.set()
        return told

    async def permit(self) -> None:
        """Wait for the right to send one IDENTIFY, and send it right after. Raises `LeaseLost`.

        A call that is cancelled gives its place in the line back.
        """
        failures = 0
        while True:
            await self.held()
            call = self._manager.call(
                "POST", "/identify", json={"session_id": self._session_id}, timeout=LONG_POLL_TIMEOUT
            )
            asked = now()
            try:
                (status, _), stood_still = await _watched(call)
                if status == 200 and not stood_still and not self.expired:
                    return
                # 202 is a place in a long line; asking again keeps it.
                failures = 0
                await asyncio.sleep(max(0.0, 0.25 - (now() - asked)))
            except Refused as error:
                if error.is_lease_lost:
                    # The beats find out by themselves; nobody identifies meanwhile.
                    self._end("lost")
                    raise LeaseLost from None
                failures += 1
                await asyncio.sleep(_pause(error.retry_after, failures))
            except AWAY:
                failures += 1
                await asyncio.sleep(_pause(None, failures))

    async def release(self) -> None:
        """Give the shard back and stop beating. Close the gateway first."""
        with contextlib.suppress(*AWAY, Refused):
            await self._manager.call("DELETE", f"/sessions/{self._session_id}", timeout=RELEASE_TIMEOUT)
        self.close()

    def close(self) -> None:
        """Stop beating. The shard goes to somebody else when its time is up."""
        for task in self._tasks:
            task.cancel()
        self._end("lost")

    def _end(self, end: End) -> None:
        if not self._ended.done():
            self._ended.set_result(end)
        self._answered.set()

    def _figures(self) -> Mapping[str, Any]:
        try:
            return self.figures()
        except Exception:
            # The lease matters more than what is said of it.
            log.exception("a beat goes without its figures")
            return {}

    async def _watch(self) -> None:
        """Close the gateway at the deadline. The lease may be ours again later."""
        silent = False
        while not self._ended.done():
            if self.expired and not silent:
                log.warning("the manager is silent for too long: leaving the gateway until it answers")
                self.on_silent()
            silent = self.expired
            await asyncio.sleep(min(GLANCE, max(0.01, self._deadline - now())))

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        state, close_code = "starting", None
        due, failing = loop.time(), False
        told: asyncio.Future[None] | None = None
        while True:
            while (wait := due - loop.time()) > 0 and (failing or not self._changes):
                self._changed.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait)
            lag = max(0.0, loop.time() - due)
            # What was not answered is told again before anything newer.
            if self._changes and not failing:
                state, close_code, told = self._changes.popleft()
            begun, sent = loop.time(), now()
            try:
                wanted = await self._tell(state, close_code, lag)
            except Refused as error:
                # With a wrong secret nobody can tell: not a silence, but no lease either.
                if error.is_lease_lost or (error.status == 403 and self.expired):
                    log.warning("the shard is lost: %s", error)
                    return self._end("lost")
                log.warning("a beat was refused: %s", error)
                failing, due = True, loop.time() + RETRY
            except AWAY as error:
                if not failing:
                    log.warning("a beat was not answered: %s", str(error) or repr(error))
                failing, due = True, loop.time() + min(RETRY, self._heartbeat)
            else:
                failing, self._heard = False, True
                self._deadline = max(self._deadline, sent + SHARE * self._lease_time)
                self._answered.set()
                due = begun + max(0.05, min(wanted or self._heartbeat, self._heartbeat))
                if told and not told.done():
                    told.set_result(None)

    async def _tell(self, state: str, close_code: int | None, lag: float) -> float | None:
        """Send one beat, and do as the answer says; returns when it wants to hear more."""
        self._number += 1
        beat = {
            "session_id": self._session_id,
            "epoch": self._epoch,
            "state": state,
            "close_code": close_code,
            "number": self._number,
            "loop_lag": lag,
            **self._figures(),
        }
        timeout = aiohttp.ClientTimeout(total=min(5.0, max(0.3, self._lease_time / 4)))
        body = {name: value for name, value in beat.items() if value is not None}
        _, answer = await self._manager.call("POST", "/beat", json=body, timeout=timeout)
        directive = answer.get("directive")
        if directive == "drain":
            self._end("drain")
        elif directive == "reconnect":
            self.on_reconnect()
        # Everything else, and what a newer manager may say: carry on.
        return _positive(answer.get("heartbeat_seconds"))


async def _watched(call: Awaitable[T]) -> tuple[T, bool]:
    """Make the call; also tell whether this process stood still before its outcome could be read."""
    task = asyncio.ensure_future(call)
    alive = now()
    try:
        while not (await asyncio.wait({task}, timeout=STALE / 3))[0]:
            alive = now()
        return task.result(), now() - alive > STALE
    finally:
        task.cancel()


def _pause(retry_after: float | None, failures: int) -> float:
    return max(0.25, retry_after or random.random() * min(5.0, 0.5 * 2.0 ** min(failures, 4)))


def _positive(value: object) -> float | None:
    if isinstance(value, (int, float)) and math.isfinite(value) and value > 0:
        return float(value)
    return None


def _resume_point(point: object) -> ResumePoint | None:
    try:
        return ResumePoint(point["session_id"], int(point["sequence"]), point["resume_url"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
