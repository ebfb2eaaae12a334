"""A hikari bot that needs no cache: it goes on where the last holder of its shard stopped."""

import os

import hikari
import shardman

bot = hikari.GatewayBot(os.environ["BOT_TOKEN"], banner=None)


@bot.listen()
async def on_message(event: hikari.MessageCreateEvent) -> None:
    print(f"a message in Guild {event.message.guild_id}", flush=True)


shardman.run(bot, check_for_updates=False, resume=True)
