"""A bot without a library and without manners beyond the two calls: it sleeps until its slot, then identifies.

Usage: SHARDMAN_URL=... SECRET=... DISCORD_API_URL=... python plain.py
"""

import asyncio
import json
import os

import aiohttp

URL = os.environ["SHARDMAN_URL"]
SECRET = {"Authorization": os.environ["SECRET"]}
GATEWAY = os.environ["DISCORD_API_URL"].replace("http", "ws", 1)


async def connect(http):
    while True:
        async with http.get(f"{URL}/connect", headers=SECRET) as answer:
            if answer.status == 200:
                return await answer.json()
        await asyncio.sleep(2)


async def beat(http, session_id, figures):
    while True:
        body = {"session_id": session_id, **figures}
        async with http.post(f"{URL}/beat", json=body, headers=SECRET) as answer:
            if answer.status != 204:
                raise SystemExit(f"the shard is lost: {answer.status}")
        await asyncio.sleep(2)


async def heartbeat(socket, seconds):
    while True:
        await asyncio.sleep(seconds)
        await socket.send_json({"op": 1, "d": None})


async def main():
    async with aiohttp.ClientSession() as http:
        lease = await connect(http)
        figures = {}
        tasks = [asyncio.create_task(beat(http, lease["session_id"], figures))]
        await asyncio.sleep(lease["sleep_duration"])
        async with http.ws_connect(f"{GATEWAY}/?v=10&encoding=json") as socket:
            async for message in socket:
                payload = json.loads(message.data)
                if payload["op"] == 10:
                    tasks.append(asyncio.create_task(heartbeat(socket, payload["d"]["heartbeat_interval"] / 1000)))
                    shard = [lease["shard_id"], lease["max_shards"]]
                    identify = {"token": "t", "intents": 513, "properties": {}, "shard": shard}
                    await socket.send_json({"op": 2, "d": identify})
                elif payload["op"] == 9:
                    raise SystemExit("invalid session")
                elif payload["t"] == "READY":
                    print(f"shard {shard[0]} is ready", flush=True)
                    figures["guild_count"] = len(payload["d"]["guilds"])


asyncio.run(main())
