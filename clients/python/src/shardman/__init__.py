"""Takes a Discord bot's shard from Shardman and keeps it.

With discord.py, instead of ``bot.run(TOKEN)``::

    import shardman

    shardman.run(bot, TOKEN)

Any other asyncio program holds a shard with :class:`Manager` and :class:`Lease`.
"""

from shardman._lease import Lease
from shardman._manager import LeaseLost, Manager, Refused, ResumePoint, State
from shardman._run import run, start

__all__ = ["Lease", "LeaseLost", "Manager", "Refused", "ResumePoint", "State", "run", "start"]
