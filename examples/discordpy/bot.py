import os

import discord
import shardman
from discord.ext import commands

bot = commands.Bot(command_prefix="!", intents=discord.Intents.default())


@bot.event
async def on_ready():
    print(f"{bot.user} is ready and sees {len(bot.guilds)} guilds", flush=True)


@bot.listen()
async def on_message(message):
    print(f"a message in {message.guild}", flush=True)


shardman.run(bot, os.environ["BOT_TOKEN"])
