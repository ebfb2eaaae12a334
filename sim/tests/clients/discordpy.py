"""An unmodified discord.py bot on the simulator; only its base URLs differ.

Usage: python discordpy.py http://HOST:PORT SECONDS

Prints one JSON line per happening on stdout and exits 0 after SECONDS, if it
became ready. Transport compression is on where zstandard is installed.

Install: pip install discord.py==2.7.1 zstandard==0.25.0
"""

import asyncio
import json
import sys

import discord
import yarl


def say(**happening):
    print(json.dumps(happening), flush=True)


class Bot(discord.AutoShardedClient):
    messages = 0
    first_ready = False

    async def on_ready(self):
        self.first_ready = True
        say(event="ready", guilds=len(self.guilds), shards=self.shard_count)

    async def on_shard_ready(self, shard):
        say(event="shard_ready", shard=shard)

    async def on_shard_resumed(self, shard):
        say(event="resumed", shard=shard)

    async def on_shard_disconnect(self, shard):
        say(event="disconnected", shard=shard)

    async def on_message(self, message):
        # Every message carries its number as nonce; gaps in it are losses.
        self.messages += 1
        say(event="message", number=int(message.nonce), count=self.messages)


async def main(url, seconds):
    base = yarl.URL(url)
    discord.http.Route.BASE = str(base / "api/v10")
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = base.with_scheme("ws")
    bot = Bot(intents=discord.Intents.default())
    try:
        await asyncio.wait_for(bot.start("sim-token"), seconds)
    except asyncio.TimeoutError:
        pass
    finally:
        await bot.close()
    say(event="end", messages=bot.messages)
    return 0 if bot.first_ready else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], float(sys.argv[2]))))
