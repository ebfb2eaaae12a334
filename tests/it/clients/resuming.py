"""A discord.py bot that needs no cache: it goes on where the last holder of its shard stopped."""

import os

import discord
import shardman


class Bot(discord.Client):
    async def on_message(self, message):
        print(f"a message in Guild {message.guild and message.guild.id}", flush=True)


shardman.run(Bot(intents=discord.Intents.default()), os.environ["BOT_TOKEN"], resume=True)
