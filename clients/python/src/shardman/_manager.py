"""The manager as a bot sees it: four small calls."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import aiohttp

if TYPE_CHECKING:
    from typing_extensions import Self

    from shardman._lease import Lease

log = logging.getLogger("shardman")

State = Literal[
    "starting", "waiting", "identifying", "resuming", "standing_by", "ready", "disconnected", "stopping"
]

# The longest wait for a shard to become free, for a manager that is away, and
# for one that refuses for another reason.
FREE_CAP = 2.0
AWAY_CAP = 5.0
REFUSED_CAP = 30.0
ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=10)
# POST /identify is answered late on purpose.
LONG_POLL_TIMEOUT = aiohttp.ClientTimeout(total=90)
RELEASE_TIMEOUT = aiohttp.ClientTimeout(total=2)

# No answer, or none that makes sense.
AWAY = (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError)


def now() -> float:
    """Seconds on a clock that is monotonic and, where there is one, goes on while the host is suspended."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class LeaseLost(Exception):
    """The shard is not ours any more."""


class Refused(Exception):
    """The manager answered with an error."""

    def __init__(self, status: int, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"the manager answered {status}: {detail}")
        self.status = status
        self.detail = detail
        self.retry_after = retry_after

    @property
    def is_lease_lost(self) -> bool:
        """Whether it says that the lease is no more: unknown, lapsed, or for a shard out of the plan."""
        return self.status in (401, 404)


@dataclass(frozen=True)
class ResumePoint:
    """Enough to RESUME a gateway session instead of identifying anew."""

    session_id: str
    sequence: int
    resume_url: str


class Manager:
    """Calls the manager's HTTP API. An async context manager."""

    def __init__(self, url: str | None = None, secret: str | None = None) -> None:
        """Take what is not given from `SHARDMAN_URL` and `SECRET`, as a child of the manager has them."""
        self.url = (url or os.environ.get("SHARDMAN_URL") or "http://127.0.0.1:7878").rstrip("/")
        secret = secret or os.environ.get("SECRET")
        if not secret:
            raise SystemExit("SECRET is not set: set it to the manager's SECRET")
        self._headers = {"Authorization": secret}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=ANSWER_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http:
            await self._http.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = ANSWER_TIMEOUT,
    ) -> tuple[int, dict[str, Any]]:
        """Make one call: the status and the body of a good answer. Raises `Refused` or one of `AWAY`."""
        if self._http is None:
            raise RuntimeError("use `async with Manager()`")
        url = self.url + path
        async with self._http.request(method, url, json=json, headers=headers, timeout=timeout) as answer:
            if answer.status >= 400:
                raise Refused(
                    answer.status, await _detail(answer), _seconds(answer.headers.get("Retry-After"))
                )
            body = {} if answer.status == 204 else await answer.json()
            return answer.status, body if isinstance(body, dict) else {}

    async def connect(self) -> Lease:
        """Get a shard of our own, however long it takes.

        Raises `Refused` where no waiting helps, such as for a wrong secret.
        """
        from shardman._lease import Lease

        # One key for the whole series: if an answer gets lost, asking again
        # gets the lease that it granted, not a second one.
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        told: int | None = None
        for attempt in range(1 << 62):
            sent = now()
            try:
                _, answer = await self.call("GET", "/connect?identify=ask", headers=headers)
                lease = Lease(self, answer, sent)
                log.info("this bot has shard %d of %d", lease.shard_id, lease.shard_count)
                return lease
            except Refused as error:
                if error.status < 500 and error.status not in (401, 408, 429):
                    raise
                if told != error.status:
                    told = error.status
                    why = "no shard is free" if error.status == 401 else error
                    log.info("no shard yet, waiting for one: %s", why)
                wait = self._after(error, attempt)
            except (*AWAY, KeyError, TypeError) as error:
                if told != 0:
                    told = 0
                    log.warning(
                        "the manager at %s does not answer, asking again: %s",
                        self.url,
                        str(error) or repr(error),
                    )
                wait = _jittered(0.25, AWAY_CAP, attempt)
            await asyncio.sleep(wait)
        raise AssertionError("nobody waits that long")

    @staticmethod
    def _after(error: Refused, attempt: int) -> float:
        if error.retry_after is not None:
            return min(error.retry_after, REFUSED_CAP) + random.random()
        return max(0.25, _jittered(1.0, FREE_CAP if error.status == 401 else REFUSED_CAP, attempt))


async def _detail(answer: aiohttp.ClientResponse) -> str:
    try:
        return str((await answer.json())["detail"])
    except (*AWAY, KeyError, TypeError):
        return answer.reason or "no reason given"


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None


def _jittered(first: float, cap: float, attempt: int) -> float:
    """Exponential back-off with full jitter."""
    return max(0.1, random.random() * min(cap, first * 2.0 ** min(attempt, 10)))
