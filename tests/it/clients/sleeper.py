"""A discord.py bot that only sleeps: connect, wait sleep_duration, log in, beat.

Usage: SHARDMAN_URL=... SECRET=... DISCORD_API_URL=... python sleeper.py
"""

import asyncio
import math
import os

import aiohttp
import discord
import yarl

URL = os.environ["SHARDMAN_URL"]
SECRET = {"Authorization": os.environ["SECRET"]}
API = os.environ["DISCORD_API_URL"]
discord.http.Route.BASE = f"{API}/api/v10"
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(API).with_scheme("ws")


async def connect(http):
    while True:
        async with http.get(f"{URL}/connect", headers=SECRET) as answer:
            if answer.status == 200:
                return await answer.json()
        await asyncio.sleep(2)


async def beat(http, bot, session_id):
    while True:
        body = {"session_id": session_id, "guild_count": len(bot.guilds)}
        if math.isfinite(bot.latency):
            body["latency"] = bot.latency
        async with http.post(f"{URL}/beat", json=body, headers=SECRET) as answer:
            if answer.status != 204:
                raise SystemExit(f"the shard is lost: {answer.status}")
        await asyncio.sleep(2)


async def main():
    async with aiohttp.ClientSession() as http:
        lease = await connect(http)
        shard, total = lease["shard_id"], lease["max_shards"]
        async with discord.Client(intents=discord.Intents.default(), shard_id=shard, shard_count=total) as bot:
            beating = asyncio.create_task(beat(http, bot, lease["session_id"]))
            await asyncio.sleep(lease["sleep_duration"])
            await asyncio.gather(beating, bot.start("t"))


asyncio.run(main())
