// A discord.js bot that takes its shard from Shardman and keeps it.
//
//     npm install
//     SHARDMAN_URL=http://127.0.0.1:7878 SECRET=... BOT_TOKEN=... node bot.js
//
// Or let Shardman start as many as the bot has shards:
//
//     shardman up --worker 'node examples/discordjs/bot.js'

import { createRequire } from 'node:module';

// `require` also finds what NODE_PATH names.
const { Client, Events, GatewayIntentBits } = createRequire(import.meta.url)('discord.js');

const url = process.env.SHARDMAN_URL ?? 'http://127.0.0.1:7878';
const headers = { authorization: process.env.SECRET };
// A proxy or the simulator instead of Discord itself.
const rest = process.env.DISCORD_API_URL ? { api: `${process.env.DISCORD_API_URL}/api` } : {};
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

let stop;
const stopping = new Promise((resolve) => (stop = resolve));
let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    stopped = true;
    stop();
  });
}

// The first of the two calls: a shard of our own, however long it takes.
async function connect() {
  while (!stopped) {
    const answer = await fetch(`${url}/connect`, { headers }).catch(() => undefined);
    if (answer?.ok) return answer.json();
    if (answer && ![401, 503].includes(answer.status)) {
      throw new Error(`the manager refused: ${answer.status} ${await answer.text()}`);
    }
    await Promise.race([sleep(5), stopping]);
  }
}

// The second: say every few seconds that the shard is held. Returns when it is
// not ours any more.
async function beat(client, session_id, every) {
  while (!stopped) {
    const body = { session_id, guild_count: client.guilds.cache.size };
    if (client.ws.ping >= 0) body.latency = client.ws.ping / 1000;
    const answer = await fetch(`${url}/beat`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }).catch(() => undefined); // The manager may be away for a moment; the shard stays ours.
    if (answer && [401, 404].includes(answer.status)) return;
    await Promise.race([sleep(every), stopping]);
  }
}

while (!stopped) {
  const lease = await connect();
  if (!lease) break;
  const client = new Client({
    intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildMessages],
    shards: lease.shard_id,
    shardCount: lease.max_shards,
    rest,
  });
  client.on(Events.ShardReady, (shard) => console.log(`shard ${shard} of ${lease.max_shards} is ready`));
  client.on(Events.ShardResume, (shard) => console.log(`shard ${shard} resumed`));
  client.on(Events.Error, (error) => console.log(`error: ${error.message}`));
  const beating = beat(client, lease.session_id, lease.heartbeat_seconds ?? 5);
  await Promise.race([sleep(lease.sleep_duration ?? 0), stopping]);
  const failed = stopped
    ? undefined
    : client.login(process.env.BOT_TOKEN).then(
        () => new Promise(() => {}),
        (error) => console.log(`the bot ended: ${error.message}`),
      );
  await Promise.race([beating, failed, stopping].filter(Boolean));
  await client.destroy();
  await fetch(`${url}/disconnect?session_id=${lease.session_id}`, { headers }).catch(() => undefined);
}
process.exit(0);
