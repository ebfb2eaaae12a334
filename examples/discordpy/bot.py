"""A discord.py bot that takes its shard from Shardman and keeps it.

    pip install discord.py
    SHARDMAN_URL=http://127.0.0.1:7878 SECRET=... BOT_TOKEN=... python bot.py

Or let Shardman start as many as the bot has shards:

    shardman up --worker 'python examples/discordpy/bot.py'

Before each IDENTIFY it asks for a permit, so that however many bots start, on
whatever hosts, Discord sees them in order. Its beats say what the shard does.
"""

import asyncio
import math
import os
import random
import signal
import time

import aiohttp
import discord

URL = os.environ.get("SHARDMAN_URL", "http://127.0.0.1:7878")
SECRET = {"Authorization": os.environ["SECRET"]}
TOKEN = os.environ["BOT_TOKEN"]

if api := os.environ.get("DISCORD_API_URL"):
    # A proxy or the simulator instead of Discord itself.
    import yarl

    discord.http.Route.BASE = f"{api}/api/v10"
    gateway = yarl.URL(api).with_scheme("ws" if api.startswith("http:") else "wss")
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = gateway

# POST /identify is held for up to 25 seconds.
LONG = aiohttp.ClientTimeout(total=40)
AWAY = (aiohttp.ClientError, asyncio.TimeoutError)


class LeaseLost(Exception):
    """The shard is not ours any more."""


def close_code(error):
    """The code with which Discord ended the gateway connection for good."""
    if isinstance(error, discord.PrivilegedIntentsRequired):
        return 4014
    return error.code if isinstance(error, discord.ConnectionClosed) else None


async def connect(http):
    """The first call: a shard of our own, however long it takes."""
    while True:
        try:
            async with http.get(f"{URL}/connect", params={"identify": "ask"}, headers=SECRET) as answer:
                if answer.status == 200:
                    return await answer.json()
                if answer.status not in (401, 503):
                    raise SystemExit(f"the manager refused: {answer.status} {await answer.text()}")
        except AWAY:
            pass
        await asyncio.sleep(5)


class Bot(discord.Client):
    def __init__(self, manager, lease, **options):
        super().__init__(shard_id=lease["shard_id"], shard_count=lease["max_shards"], **options)
        self.manager = manager
        self.lease = lease
        self.state = "starting"
        self.changed = asyncio.Event()

    def enters(self, state):
        self.state = state
        self.changed.set()

    async def before_identify_hook(self, shard_id, *, initial=False):
        """Waits for the permit. discord.py calls this right before it sends IDENTIFY."""
        if not initial:
            # Discord wants one to five seconds between a lost session and the next IDENTIFY.
            await asyncio.sleep(random.uniform(1, 5))
        body = {"session_id": self.lease["session_id"]}
        self.enters("waiting")
        while True:
            try:
                async with self.manager.post(f"{URL}/identify", json=body, headers=SECRET, timeout=LONG) as answer:
                    if answer.status == 200:
                        return self.enters("identifying")
                    if answer.status in (401, 404):
                        raise LeaseLost
                    if answer.status == 202:
                        continue  # A place in a long line; asking again keeps it.
            except AWAY:
                pass
            await asyncio.sleep(1)

    async def beat(self, **more):
        """Says that the shard is held, and what it does. False when the shard is lost, or wanted back."""
        body = {"session_id": self.lease["session_id"], "state": self.state, "guild_count": len(self.guilds), **more}
        if math.isfinite(self.latency):
            body["latency"] = self.latency
        try:
            async with self.manager.post(f"{URL}/beat", json=body, headers=SECRET) as answer:
                if answer.status == 200:
                    return (await answer.json()).get("directive") != "drain"
                return answer.status not in (401, 404)
        except AWAY:
            return True  # The manager may be away for a moment; the shard stays ours.

    async def beats(self):
        """Beats every few seconds, and whenever the state changes, while the shard is ours."""
        lag = 0
        while await self.beat(loop_lag=lag):
            due = time.monotonic() + self.lease.get("heartbeat_seconds", 5)
            try:
                await asyncio.wait_for(self.changed.wait(), self.lease.get("heartbeat_seconds", 5))
            except asyncio.TimeoutError:
                pass
            self.changed.clear()
            lag = max(0, time.monotonic() - due)  # A loop that is blocked is late for everything.

    async def on_ready(self):
        self.enters("ready")
        print(f"shard {self.shard_id} of {self.shard_count} is ready: {len(self.guilds)} guilds", flush=True)

    async def on_resumed(self):
        self.enters("ready")
        print(f"shard {self.shard_id} resumed", flush=True)

    async def on_disconnect(self):
        self.enters("disconnected")


async def hold_a_shard(http, stopping):
    lease = await connect(http)
    bot = Bot(http, lease, intents=discord.Intents.default())
    async with bot:
        beating = asyncio.create_task(bot.beats())
        running = asyncio.create_task(bot.start(TOKEN))
        asked = asyncio.create_task(stopping.wait())
        await asyncio.wait([beating, running, asked], return_when=asyncio.FIRST_COMPLETED)
        beating.cancel()
        await bot.close()
        if running.done() and (error := running.exception()):
            print(f"the bot ended: {error!r}", flush=True)
            if code := close_code(error):
                # Where no restart can help, the manager halts the fleet.
                bot.state = "disconnected"
                await bot.beat(close_code=code)
        running.cancel()
    async with http.get(f"{URL}/disconnect", params={"session_id": lease["session_id"]}, headers=SECRET):
        pass


async def main():
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        while not stopping.is_set():
            await hold_a_shard(http, stopping)


asyncio.run(main())
