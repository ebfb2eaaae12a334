// An unmodified discord.js bot on the simulator; only its base URL differs.
//
// Usage: node discordjs.mjs http://HOST:PORT SECONDS
//
// Prints one JSON line per happening on stdout and exits 0 after SECONDS, if it
// became ready. Transport compression is on where zlib-sync is installed.
// NODE_PATH may name the directory of the libraries.
//
// Install: npm install discord.js@14.28.1

import { createRequire } from "node:module";

// `import` does not look at NODE_PATH; `require` does.
const { Client, Events, GatewayIntentBits } = createRequire(import.meta.url)("discord.js");

const [url, seconds] = process.argv.slice(2);
const say = (happening) => console.log(JSON.stringify(happening));

const client = new Client({
  shards: "auto",
  rest: { api: `${url}/api` },
  intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildMessages],
});

let messages = 0;
let ready = false;

client.on(Events.ClientReady, () => {
  ready = true;
  say({ event: "ready", guilds: client.guilds.cache.size, shards: client.ws.shards.size });
});
client.on(Events.ShardReady, (shard) => say({ event: "shard_ready", shard }));
client.on(Events.ShardResume, (shard, replayed) => say({ event: "resumed", shard, replayed }));
client.on(Events.ShardReconnecting, (shard) => say({ event: "disconnected", shard }));
client.on(Events.Error, (error) => say({ event: "error", detail: String(error) }));
// Every message carries its number as nonce; gaps in it are losses.
client.on(Events.MessageCreate, (message) => {
  messages += 1;
  say({ event: "message", number: Number(message.nonce), count: messages });
});

setTimeout(async () => {
  await client.destroy();
  say({ event: "end", messages });
  process.exit(ready ? 0 : 1);
}, Number(seconds) * 1000);

await client.login("sim-token");
