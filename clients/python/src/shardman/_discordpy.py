"""Runs discord.py bots: `Client`, `AutoShardedClient` and what is made of them.

All it needs of the library are three doors: the HTTP client's `ws_connect`,
through which every gateway connection is opened, the `before_identify` hook,
and `dispatch`, through which every event goes. The library's own loop goes on
resuming and reconnecting; behind the first door it finds out when it may.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import typing
from collections.abc import Awaitable, Mapping
from typing import Any

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket, ReconnectWebSocket

from shardman._lease import Lease
from shardman._manager import LeaseLost, Manager, ResumePoint, log, now

# Close codes with which Discord refuses for good (Discord, "Opcodes and Status
# Codes", Gateway Close Event Codes).
REFUSALS = (4004, 4010, 4011, 4012, 4013, 4014)
# The library gives up on an attempt to connect after 60 seconds; a wait for the
# manager is broken off and begun again before.
PATIENCE = 45.0
# With this code Discord keeps the session for a RESUME, unlike with 1000.
RESUMABLE = 4000
# How long the other side may take to close.
CLOSE_TIMEOUT = 2.0
# The last beat of a shard that Discord refused.
LAST_BEAT_TIMEOUT = 5.0


def set_up_logging(options: Mapping[str, Any]) -> list[str]:
    """Do as `bot.run` does; returns whose loggers to write like."""
    discord.utils.setup_logging(**options)
    return [] if options.get("root") else ["discord"]


async def hold(client: discord.Client, token: str | None, manager: Manager, *, resume: bool = False) -> None:
    """Run the bot on one shard after the other until cancelled, or until Discord refuses it for good.

    `resume`: take over the gateway session of the shard's last holder, and leave ours to the next one. No
    event is lost and no identify spent, but a resumed session lists no guilds, so the bot starts with an
    empty cache and without `on_ready`. Only for bots that need neither.
    """
    if token is None:
        raise TypeError("shardman.run(bot, token): the token is missing")
    use_another_discord()
    async with client:
        logged_in = False
        while True:
            lease = await manager.connect()
            holder = Holder(client, lease, resume)
            lease.start()
            try:
                if not logged_in:
                    await client.login(token)
                    logged_in = True
                await holder.run()
            except discord.PrivilegedIntentsRequired:
                await holder.refused(4014)
                raise
            except discord.ConnectionClosed as error:
                if error.code in REFUSALS:
                    await holder.refused(error.code)
                raise
            finally:
                await asyncio.shield(holder.leave())
            if client.is_closed():
                return


def use_another_discord() -> None:
    """Reach a proxy or the simulator instead of Discord itself, where `DISCORD_API_URL` says so."""
    api = os.environ.get("DISCORD_API_URL", "").rstrip("/")
    if api and yarl.URL(api).host != "discord.com":
        discord.http.Route.BASE = f"{api}/api/v{discord.http.INTERNAL_API_VERSION}"
        scheme = "ws" if api.startswith("http:") else "wss"
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(api).with_scheme(scheme)


class Holder:
    """Holds one lease with the bot."""

    def __init__(self, client: discord.Client, lease: Lease, resume: bool) -> None:
        self.client = client
        self.lease = lease
        self.resume = resume
        self.socket: Socket | None = None
        # READY or RESUMED came on the present connection; READY came on any.
        self.ready = False
        self.listed = False
        self.last_event: float | None = None
        self.events = 0
        self.failures = 0
        self.give_up_at = 0.0
        self.hand_over = lease.resume if resume and not self._is_auto_sharded() else None
        self.connecting: asyncio.Task[None] | None = None
        self.leaving: asyncio.Task[None] | None = None
        self.open_gateway = client.http.ws_connect
        self.dispatch_event = client.dispatch
        # What the library looks up on the bot is answered here for as long as the lease lasts.
        self._doors: Mapping[str, tuple[object, object]] = {
            "ws_connect": (client.http, self._open),
            "dispatch": (client, self._dispatch),
            "before_identify_hook": (client, self._before_identify),
        }
        lease.figures = self._figures
        lease.on_silent = lambda: self._drop("the manager is silent")
        lease.on_reconnect = self._reconnect

    async def run(self) -> None:
        """Run until the lease ends or the bot does. Raises what ended the bot."""
        self._aim()
        for name, (owner, door) in self._doors.items():
            setattr(owner, name, door)
        self.connecting = asyncio.create_task(self.client.connect())
        ended = asyncio.create_task(self.lease.ended())
        try:
            await asyncio.wait({self.connecting, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        if self.connecting.done():
            self.connecting.result()

    async def refused(self, code: int) -> None:
        """Tell that Discord refused for good: where no restart can help, the manager halts the fleet."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.lease.report("disconnected", code), LAST_BEAT_TIMEOUT)

    async def leave(self) -> None:
        """Leave the gateway, then give the shard back."""
        # An `AutoShardedClient` that is about to reconnect takes no notice of the first cancel.
        while self.connecting and not self.connecting.done():
            self.connecting.cancel()
            await asyncio.wait({self.connecting}, timeout=0.1)
        if self.socket:
            await self.socket.leave(RESUMABLE if self.resume else 1000)
        with contextlib.suppress(Exception):
            await self._forget_connections()
        for name, (owner, door) in self._doors.items():
            if vars(owner).get(name) == door:
                delattr(owner, name)
        if self.resume and not self.lease.expired:
            # The next holder resumes after the last event that came in.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.lease.report("disconnected"), CLOSE_TIMEOUT)
        await self.lease.release()

    def _is_auto_sharded(self) -> bool:
        return isinstance(self.client, discord.AutoShardedClient)

    def _aim(self) -> None:
        """Let the bot be the lease's shard."""
        client, lease = self.client, self.lease
        if isinstance(client, discord.AutoShardedClient):
            client.shard_ids = [lease.shard_id]
        else:
            client.shard_id = lease.shard_id
            client.ws = typing.cast(DiscordWebSocket, NoGateway(self.hand_over))
        client.shard_count = lease.shard_count
        client._connection.shard_count = lease.shard_count

    async def _forget_connections(self) -> None:
        """Stop what the library keeps of a connection, so that the bot can be another shard."""
        client = self.client
        if not isinstance(client, discord.AutoShardedClient):
            if client.ws and not client.is_closed():
                await client.ws.close()  # The socket is closed; this ends the thread that heartbeats.
            return
        for shard in client.shards.values():
            await shard.disconnect()
        if not client.is_closed():
            # Guilds of another shard, and what the library still meant to do about it.
            client._connection._guilds.clear()
            vars(client)["_AutoShardedClient__shards"].clear()
            await client._async_setup_hook()

    async def _open(self, url: str, **options: Any) -> Any:
        """Open a gateway connection as soon as the shard is surely ours."""
        if "encoding" not in yarl.URL(url).query:
            return await self.open_gateway(url, **options)  # A voice connection.
        if self.socket and not self.socket.closed:
            await self.socket.leave(RESUMABLE)  # Of an attempt that the library gave up.
        self.give_up_at = now() + self._patience()
        await self._soon(self.lease.held(), resume=bool(getattr(self.client.ws, "session_id", None)))
        if self.hand_over:
            # The library then resumes where `client.ws`, still a `NoGateway`, says.
            self.hand_over = None
            raise ReconnectWebSocket(self.lease.shard_id, resume=True)
        if self.failures >= 3:
            # A resume URL that is dead gives way to the main one.
            url = str(DiscordWebSocket.DEFAULT_GATEWAY.with_query(yarl.URL(url).query))
        self.failures += 1
        self.socket = Socket(await self.open_gateway(url, **options), self.lease)
        return self.socket

    async def _before_identify(self, shard_id: int | None, *, initial: bool = False) -> None:
        if not initial:
            # Discord wants one to five seconds between a lost session and the next IDENTIFY.
            await asyncio.sleep(random.uniform(1, 5))
        self.lease.report("waiting")
        await self._soon(self.lease.permit(), resume=False)

    def _patience(self) -> float:
        if isinstance(self.client, discord.AutoShardedClient) and not self.client.shards:
            return 0.75 * (self.client.shard_connect_timeout or 180.0)
        return PATIENCE

    async def _soon(self, waiting: Awaitable[None], *, resume: bool) -> None:
        """Wait, but begin the attempt to connect anew before the library gives up on it."""
        try:
            await asyncio.wait_for(waiting, max(1.0, self.give_up_at - now()))
        except LeaseLost:
            await asyncio.sleep(PATIENCE)  # Until `run` cancels the attempt.
        except asyncio.TimeoutError:
            if self.socket:
                await self.socket.leave(RESUMABLE)
            raise ReconnectWebSocket(self.lease.shard_id, resume=resume) from None

    def _dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        if event == "socket_event_type":
            self.last_event = now()
            self.events += 1
            if args[0] in ("READY", "RESUMED"):
                self.failures, self.ready = 0, True
                self.listed = self.listed or args[0] == "READY"
                self.lease.report("ready")
                how = "ready" if args[0] == "READY" else "resumed"
                log.info("shard %d of %d is %s", self.lease.shard_id, self.lease.shard_count, how)
        elif event == "disconnect":
            if self.socket is None:
                return  # There was no connection yet.
            self.ready = False
            self.lease.report("disconnected")
        self.dispatch_event(event, *args, **kwargs)

    def _figures(self) -> Mapping[str, Any]:
        client = self.client
        figures: dict[str, Any] = {"event_count": self.events}
        if self.listed:
            figures["guild_count"] = len(client.guilds)
        if math.isfinite(client.latency):
            figures["latency"] = client.latency
        if self.last_event is not None:
            figures["last_event_age"] = now() - self.last_event
        # An `AutoShardedClient` has another place for it, and before the start there is none.
        if self.resume and (ws := client.ws) is not None and ws.session_id and ws.sequence:
            figures["gateway"] = {
                "session_id": ws.session_id,
                "sequence": ws.sequence,
                "resume_url": str(ws.gateway),
            }
        return figures

    def _reconnect(self) -> None:
        if self.ready:
            self.ready = False
            self._drop("the manager wants another connection")

    def _drop(self, why: str) -> None:
        """Close the gateway connection, resumably. The library comes back through `_open`."""
        if self.socket and not self.socket.closed:
            log.info("leaving the gateway connection: %s", why)
            self.leaving = asyncio.create_task(self.socket.leave(RESUMABLE))


class NoGateway:
    """Stands for the gateway connection until there is one, and says where to resume."""

    open = False
    latency = math.nan

    def __init__(self, point: ResumePoint | None) -> None:
        self.session_id = point and point.session_id
        self.sequence = point and point.sequence
        self.gateway = yarl.URL(point.resume_url) if point else DiscordWebSocket.DEFAULT_GATEWAY

    def __bool__(self) -> bool:
        return False


class Socket:
    """A gateway connection that is not used without the lease."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, lease: Lease) -> None:
        self._socket = socket
        self._lease = lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:
        """Receive a message, or the end of the connection where the lease has run out."""
        message = await self._socket.receive(timeout)
        if self._lease.expired and not self._socket.closed:
            await self.leave(RESUMABLE)
            message = await self._socket.receive(timeout)
        return message

    async def send_str(self, data: str) -> None:
        """Send a message, if the shard is ours."""
        if self._lease.expired:
            return await self.leave(RESUMABLE)
        await self._socket.send_str(data)
        op = json.loads(data).get("op")
        if op == DiscordWebSocket.IDENTIFY:
            self._lease.report("identifying")
        elif op == DiscordWebSocket.RESUME:
            self._lease.report("resuming")

    async def leave(self, code: int) -> None:
        """Close, however slow the other side is."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._socket.close(code=code), CLOSE_TIMEOUT)
