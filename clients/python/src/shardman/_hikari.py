"""Runs hikari's `GatewayBot`.

hikari has no hook before IDENTIFY. Its shard has one place through which every
message goes, `_ws`; a shard class of our own puts a guard there. The library's
own loop goes on resuming and reconnecting.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Mapping
from typing import Any

import hikari
from hikari.impl import shard as shard_impl

from shardman._lease import Lease
from shardman._manager import Manager, log, now

# Close codes with which Discord refuses for good (Discord, "Opcodes and Status
# Codes", Gateway Close Event Codes).
REFUSALS = (4004, 4010, 4011, 4012, 4013, 4014)
# With this code Discord keeps the session for a RESUME, unlike with 1001.
RESUMABLE = 4000
CLOSE_TIMEOUT = 2.0
LAST_BEAT_TIMEOUT = 5.0

DISPATCH, IDENTIFY, RESUME = 0, 2, 6


def set_up_logging(options: Mapping[str, Any]) -> list[str]:
    """Nothing to do: hikari set it up when the bot was made, for every logger."""
    return []


async def hold(
    bot: hikari.GatewayBot, token: str | None, manager: Manager, *, resume: bool = False, **options: Any
) -> None:
    """Run the bot on one shard after the other until cancelled, or until Discord refuses it for good.

    `resume`: take over the gateway session of the shard's last holder, and leave ours to the next one. No
    event is lost and no identify spent, but a resumed session lists no guilds, so the bot starts with an
    empty cache. Other options are those of `bot.start`.
    """
    if token is not None:
        raise TypeError("shardman.run(bot): hikari has the token already")
    use_another_discord(bot)
    library_shard = shard_impl.GatewayShardImpl
    while True:
        lease = await manager.connect()
        holder = Holder(bot, lease, resume)
        lease.start()
        shard_impl.GatewayShardImpl = holder.shard_class()  # type: ignore[misc]
        try:
            ended = await holder.run(options)
        except hikari.GatewayServerClosedConnectionError as error:
            if error.code in REFUSALS:
                await holder.refused(int(error.code))
            raise
        finally:
            shard_impl.GatewayShardImpl = library_shard  # type: ignore[misc]
            await asyncio.shield(holder.leave())
        if not ended:
            return  # The bot closed itself.


def use_another_discord(bot: hikari.GatewayBot) -> None:
    """Reach a proxy or the simulator instead of Discord itself, where `DISCORD_API_URL` says so."""
    api = os.environ.get("DISCORD_API_URL", "").rstrip("/")
    if api and "//discord.com" not in api:
        bot.rest._rest_url = f"{api}/api/v{hikari.urls.VERSION}"  # type: ignore[attr-defined]


class Holder:
    """Holds one lease with the bot."""

    def __init__(self, bot: hikari.GatewayBot, lease: Lease, resume: bool) -> None:
        self.bot = bot
        self.lease = lease
        self.resume = resume
        self.shard: shard_impl.GatewayShardImpl | None = None
        self.socket: Guard | None = None
        self.guilds: set[str] | None = None
        self.last_event: float | None = None
        self.events = 0
        self.leaving: asyncio.Task[None] | None = None
        lease.figures = self._figures
        lease.on_silent = self._drop
        lease.on_reconnect = lambda: self._drop() if self.socket and self.socket.ready else None

    async def run(self, options: Mapping[str, Any]) -> bool:
        """Run until the lease ends; false when the bot ended first. Raises what ended it."""
        running = asyncio.create_task(self._run(options))
        ended = asyncio.create_task(self.lease.ended())
        try:
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            return not running.done()
        finally:
            ended.cancel()
            running.cancel()
            await asyncio.wait({running})

    async def _run(self, options: Mapping[str, Any]) -> None:
        await self.lease.held()
        shard_ids, count = [self.lease.shard_id], self.lease.shard_count
        # The manager keeps the account of session starts.
        await self.bot.start(
            shard_ids=shard_ids, shard_count=count, ignore_session_start_limit=True, **options
        )
        await self.bot.join()

    async def refused(self, code: int) -> None:
        """Tell that Discord refused for good: where no restart can help, the manager halts the fleet."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.lease.report("disconnected", code), LAST_BEAT_TIMEOUT)

    async def leave(self) -> None:
        """Leave the gateway, then give the shard back."""
        if self.resume and self.socket:
            await self.socket.leave()
        if self.bot.is_alive:
            await self.bot.close()
        if self.shard and self.shard._keep_alive_task is None and self.socket:
            await self.socket.leave()  # It was still on its way to READY.
        if self.resume and not self.lease.expired:
            # The next holder resumes after the last event that came in.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.lease.report("disconnected"), CLOSE_TIMEOUT)
        await self.lease.release()

    def shard_class(self) -> type[shard_impl.GatewayShardImpl]:
        """Make hikari's shard, with a guard at its connection."""
        holder = self

        class Shard(shard_impl.GatewayShardImpl):
            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                holder.shard = self
                point = holder.lease.resume if holder.resume else None
                if point:
                    self._session_id, self._seq = point.session_id, point.sequence
                    self._resume_gateway_url = point.resume_url

            @property
            def _ws(self) -> Any:
                return holder.socket

            @_ws.setter
            def _ws(self, transport: Any) -> None:
                holder._connected(transport)

            async def _connect(self) -> tuple[asyncio.Task[None], ...]:
                await holder.lease.held()
                return await super()._connect()

        return Shard

    def _connected(self, transport: Any) -> None:
        if transport is None and self.socket:
            self.lease.report("disconnected")
        self.socket = Guard(transport, self) if transport is not None else None

    def _figures(self) -> Mapping[str, Any]:
        figures: dict[str, Any] = {"event_count": self.events}
        if self.guilds is not None:
            figures["guild_count"] = len(self.guilds)
        if self.last_event is not None:
            figures["last_event_age"] = now() - self.last_event
        if shard := self.shard:
            if math.isfinite(shard.heartbeat_latency):
                figures["latency"] = shard.heartbeat_latency
            if self.resume and shard._session_id and shard._seq and shard._resume_gateway_url:
                figures["gateway"] = {
                    "session_id": shard._session_id,
                    "sequence": shard._seq,
                    "resume_url": shard._resume_gateway_url,
                }
        return figures

    def _drop(self) -> None:
        """Close the gateway connection, resumably. The library comes back through `_connect`."""
        if self.socket:
            self.leaving = asyncio.create_task(self.socket.leave())

    def observe(self, payload: Mapping[str, Any]) -> None:
        """Take note of an event."""
        self.last_event = now()
        self.events += 1
        name, data = payload.get("t"), payload.get("d") or {}
        if name == "READY":
            self.guilds = {guild["id"] for guild in data["guilds"]}
        elif name == "GUILD_CREATE" and self.guilds is not None:
            self.guilds.add(data["id"])
        elif name == "GUILD_DELETE" and self.guilds is not None and not data.get("unavailable"):
            self.guilds.discard(data["id"])
        if name in ("READY", "RESUMED"):
            if self.socket:
                self.socket.ready = True
            self.lease.report("ready")
            how = "ready" if name == "READY" else "resumed"
            log.info("shard %d of %d is %s", self.lease.shard_id, self.lease.shard_count, how)


class Guard:
    """A gateway connection that is not used without the lease, nor for an IDENTIFY without a permit."""

    def __init__(self, transport: Any, holder: Holder) -> None:
        self._transport = transport
        self._holder = holder
        self._lease = holder.lease
        self.ready = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _check(self) -> None:
        if self._lease.expired:
            # hikari closes the connection resumably and comes back through `_connect`.
            raise ConnectionResetError("the lease has run out")

    async def receive_json(self) -> Any:
        """Receive a message, if the shard is ours."""
        payload = await self._transport.receive_json()
        self._check()
        if payload.get("op") == DISPATCH:
            self._holder.observe(payload)
        return payload

    async def send_json(self, data: Mapping[str, Any]) -> None:
        """Send a message, if the shard is ours."""
        op = data["op"]
        if op == IDENTIFY:
            self._lease.report("waiting")
            await self._lease.permit()
        self._check()
        await self._transport.send_json(data)
        if op == IDENTIFY:
            self._lease.report("identifying")
        elif op == RESUME:
            self._lease.report("resuming")

    async def leave(self) -> None:
        """Close, however slow the other side is."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._transport._ws.close(code=RESUMABLE), CLOSE_TIMEOUT)
