const { Client, Events, GatewayIntentBits } = require('discord.js');

const client = new Client({ intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildMessages] });

client.once(Events.ClientReady, () => {
  console.log(`${client.user.tag} is ready and sees ${client.guilds.cache.size} guilds`);
});

client.on(Events.MessageCreate, (message) => {
  console.log(`a message in ${message.guild?.name}`);
});

client.login(process.env.BOT_TOKEN);
