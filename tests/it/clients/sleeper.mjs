// A discord.js bot that only sleeps: connect, wait sleep_duration, log in, beat.
//
// Usage: SHARDMAN_URL=... SECRET=... DISCORD_API_URL=... node sleeper.mjs

import { createRequire } from 'node:module';

const { Client, GatewayIntentBits } = createRequire(import.meta.url)('discord.js');
const { SHARDMAN_URL: url, SECRET, DISCORD_API_URL } = process.env;
const headers = { authorization: SECRET, 'content-type': 'application/json' };
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

let answer;
while (!(answer = await fetch(`${url}/connect`, { headers })).ok) await sleep(2);
const lease = await answer.json();
const client = new Client({
  intents: [GatewayIntentBits.Guilds],
  shards: lease.shard_id,
  shardCount: lease.max_shards,
  rest: { api: `${DISCORD_API_URL}/api` },
});
sleep(lease.sleep_duration).then(() => client.login('t'));
while (true) {
  const body = { session_id: lease.session_id, guild_count: client.guilds.cache.size };
  if (client.ws.ping >= 0) body.latency = client.ws.ping / 1000;
  const { status } = await fetch(`${url}/beat`, { method: 'POST', headers, body: JSON.stringify(body) });
  if (status !== 204) process.exit(1);
  await sleep(2);
}
