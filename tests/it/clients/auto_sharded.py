"""A discord.py bot of the kind that shards itself."""

import os

import discord
import shardman


class Bot(discord.AutoShardedClient):
    async def on_message(self, message):
        print(f"a message in Guild {message.guild.id}", flush=True)


shardman.run(Bot(intents=discord.Intents.default()), os.environ["BOT_TOKEN"])
