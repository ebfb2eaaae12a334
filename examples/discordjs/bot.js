const { Client, Events, GatewayIntentBits } = require('discord.js');
const { login } = require('shardman');

const client = new Client({ intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildMessages] });

client.once(Events.ClientReady, () => {
  console.log(`${client.user.tag} is ready and sees ${client.guilds.cache.size} guilds`);
});

client.on(Events.MessageCreate, (message) => {
  console.log(`a message in ${message.guild?.name}`);
});

login(client, process.env.BOT_TOKEN);
