"""A discord.py bot that takes its shard from Shardman and keeps it.

    pip install discord.py
    SHARDMAN_URL=http://127.0.0.1:7878 SECRET=... BOT_TOKEN=... python bot.py

Or let Shardman start as many as the bot has shards:

    shardman up --worker 'python examples/discordpy/bot.py'
"""

import asyncio
import math
import os
import signal

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


class Bot(discord.Client):
    async def on_ready(self):
        print(f"shard {self.shard_id} of {self.shard_count} is ready: {len(self.guilds)} guilds", flush=True)

    async def on_resumed(self):
        print(f"shard {self.shard_id} resumed", flush=True)


async def connect(http):
    """The first of the two calls: a shard of our own, however long it takes."""
    while True:
        try:
            async with http.get(f"{URL}/connect", headers=SECRET) as answer:
                if answer.status == 200:
                    return await answer.json()
                if answer.status not in (401, 503):
                    raise SystemExit(f"the manager refused: {answer.status} {await answer.text()}")
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(5)


async def beat(http, bot, session_id, every):
    """The second: say every few seconds that the shard is held. Returns when it is not ours any more."""
    while True:
        body = {"session_id": session_id, "guild_count": len(bot.guilds)}
        if math.isfinite(bot.latency):
            body["latency"] = bot.latency
        try:
            async with http.post(f"{URL}/beat", json=body, headers=SECRET) as answer:
                if answer.status in (401, 404):
                    return
        except (aiohttp.ClientConnectionError, asyncio.TimeoutError):
            pass  # The manager may be away for a moment; the shard stays ours.
        await asyncio.sleep(every)


async def hold_a_shard(http, stopping):
    lease = await connect(http)
    bot = Bot(intents=discord.Intents.default(), shard_id=lease["shard_id"], shard_count=lease["max_shards"])
    async with bot:
        beating = asyncio.create_task(beat(http, bot, lease["session_id"], lease.get("heartbeat_seconds", 5)))
        await asyncio.sleep(lease.get("sleep_duration", 0))
        running = asyncio.create_task(bot.start(TOKEN))
        asked = asyncio.create_task(stopping.wait())
        await asyncio.wait([beating, running, asked], return_when=asyncio.FIRST_COMPLETED)
        beating.cancel()
        await bot.close()
        if running.done() and not running.cancelled() and running.exception():
            print(f"the bot ended: {running.exception()}", flush=True)
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
