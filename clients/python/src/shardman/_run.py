"""Starts a bot of whichever library it is made with."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Any

from shardman._manager import Manager


def _library(bot: object) -> Any:
    """The part of this package that knows the bot's library; it is imported only if it is used."""
    families = {base.__module__.partition(".")[0] for base in type(bot).__mro__}
    if "discord" in families:
        from shardman import _discordpy

        return _discordpy
    if "hikari" in families:
        from shardman import _hikari

        return _hikari
    raise TypeError(
        f"{type(bot).__name__} is no bot of discord.py or hikari: hold a shard with shardman.Manager"
    )


async def start(
    bot: Any, token: str | None = None, *, manager: Manager | None = None, **options: Any
) -> None:
    """Run the bot on the shards that the manager gives it, one after the other, until it is cancelled.

    The bot is any `discord.Client` (`commands.Bot`, `AutoShardedBot`) or a `hikari.GatewayBot`. The manager
    is the one at `SHARDMAN_URL`, with the `SECRET` from there, unless another one is given.
    """
    async with manager or Manager() as opened:
        await _library(bot).hold(bot, token, opened, **options)


def run(bot: Any, token: str | None = None, **options: Any) -> None:
    """Run the bot instead of `bot.run(token)`, until SIGINT or SIGTERM.

    Options of `start` and, for discord.py, those of `bot.run` that set up logging (`log_handler`,
    `log_formatter`, `log_level`, `root_logger`).
    """
    handler = options.pop("log_handler", ...)
    formatting = {
        "handler": handler,
        "formatter": options.pop("log_formatter", ...),
        "level": options.pop("log_level", ...),
        "root": options.pop("root_logger", False),
    }
    if handler is not None:
        names = _library(bot).set_up_logging(
            {name: value for name, value in formatting.items() if value is not ...}
        )
        for name in names:
            for each in logging.getLogger(name).handlers:
                logging.getLogger("shardman").addHandler(each)
            logging.getLogger("shardman").setLevel(logging.getLogger(name).level or logging.INFO)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_until_asked_to_stop(start(bot, token, **options)))


async def _until_asked_to_stop(running: Any) -> None:
    task = asyncio.ensure_future(running)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has none; Ctrl-C cancels this task there.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
