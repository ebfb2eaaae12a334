// A bot on @discordjs/ws alone.

const { createRequire } = require('node:module');

// Where discord.js is, so are these.
const near = createRequire(require.resolve('discord.js'));
const { WebSocketManager } = near('@discordjs/ws');
const { REST } = near('@discordjs/rest');
const { connect } = require('shardman');

const rest = new REST({ api: `${process.env.DISCORD_API_URL}/api` }).setToken(process.env.BOT_TOKEN);

connect((options) => {
  const manager = new WebSocketManager({ token: process.env.BOT_TOKEN, intents: 513, rest, ...options });
  manager.on('dispatch', ({ data }) => {
    if (data.t === 'MESSAGE_CREATE') console.log(`a message in Guild ${data.d.guild_id}`);
  });
  return manager;
});
