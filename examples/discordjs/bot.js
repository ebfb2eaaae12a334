// A discord.js bot that takes its shard from Shardman and keeps it.
//
//     npm install
//     SHARDMAN_URL=http://127.0.0.1:7878 SECRET=... BOT_TOKEN=... node bot.js
//
// Or let Shardman start as many as the bot has shards:
//
//     shardman up --worker 'node examples/discordjs/bot.js'
//
// Before each IDENTIFY it asks for a permit, so that however many bots start,
// on whatever hosts, Discord sees them in order. Its beats say what the shard
// does.

import { createRequire } from 'node:module';
import { setTimeout as after } from 'node:timers/promises';

// `require` also finds what NODE_PATH names.
const { Client, Events, GatewayIntentBits } = createRequire(import.meta.url)('discord.js');

const url = process.env.SHARDMAN_URL ?? 'http://127.0.0.1:7878';
const headers = { authorization: process.env.SECRET };
// A proxy or the simulator instead of Discord itself.
const rest = process.env.DISCORD_API_URL ? { api: `${process.env.DISCORD_API_URL}/api` } : {};
const sleep = (seconds, signal) => after(seconds * 1000, undefined, { signal, ref: true }).catch(() => {});

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => stop.abort());
const stopped = () => stop.signal.aborted;
const stopping = new Promise((resolve) => stop.signal.addEventListener('abort', resolve));

// The manager may be away for a moment: then there is no answer.
const post = (path, body, signal) =>
  fetch(url + path, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  }).catch(() => undefined);

// The first call: a shard of our own, however long it takes.
async function connect() {
  while (!stopped()) {
    const answer = await fetch(`${url}/connect?identify=ask`, { headers }).catch(() => undefined);
    if (answer?.ok) return answer.json();
    if (answer && ![401, 503].includes(answer.status)) {
      throw new Error(`the manager refused: ${answer.status} ${await answer.text()}`);
    }
    await sleep(5, stop.signal);
  }
}

// Waits for the permit. discord.js calls this right before it sends IDENTIFY,
// and aborts the signal if the connection is gone by then.
async function waitForIdentify(session_id, signal, enters) {
  enters('waiting');
  while (true) {
    const answer = await post('/identify', { session_id }, signal);
    signal.throwIfAborted();
    // Told once IDENTIFY is on its way.
    if (answer?.status === 200) return void setImmediate(() => enters('identifying'));
    // A 202 is a place in a long line; asking again keeps it. On a 401 or a 404
    // the shard is lost, which the next beat finds out.
    if (answer?.status !== 202) await sleep(1, signal);
    signal.throwIfAborted();
  }
}

while (!stopped()) {
  const lease = await connect();
  if (!lease) break;
  const { session_id } = lease;

  let state = 'starting';
  let close_code;
  let loop_lag = 0;
  let changed = new AbortController();
  const enters = (next) => {
    state = next;
    changed.abort();
  };

  const client = new Client({
    intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildMessages],
    shards: lease.shard_id,
    shardCount: lease.max_shards,
    rest,
    ws: {
      buildIdentifyThrottler: () => ({
        waitForIdentify: (shard, signal) => waitForIdentify(session_id, signal, enters),
      }),
    },
  });
  client.on(Events.ShardReady, (shard) => {
    enters('ready');
    console.log(`shard ${shard} of ${lease.max_shards} is ready`);
  });
  client.on(Events.ShardResume, (shard) => {
    enters('ready');
    console.log(`shard ${shard} resumed`);
  });
  client.on(Events.ShardReconnecting, () => enters('disconnected'));
  // Discord refused for good. Where no restart can help, the manager halts the fleet.
  const refused = new Promise((resolve) =>
    client.on(Events.ShardDisconnect, ({ code }) => {
      console.log(`the bot ended: close code ${code}`);
      [state, close_code] = ['disconnected', code];
      resolve();
    }),
  );
  client.on(Events.Error, (error) => console.log(`error: ${error.message}`));

  // Says that the shard is held, and what it does. False when the shard is lost,
  // or wanted back.
  const beat = async () => {
    const body = { session_id, state, close_code, loop_lag, guild_count: client.guilds.cache.size };
    if (client.ws.ping >= 0) body.latency = client.ws.ping / 1000;
    const answer = await post('/beat', body);
    if (answer?.status === 200) return (await answer.json()).directive !== 'drain';
    return ![401, 404].includes(answer?.status);
  };
  // Beats every few seconds, and whenever the state changes, while the shard is ours.
  const beats = async () => {
    while (await beat()) {
      const due = performance.now() + (lease.heartbeat_seconds ?? 5) * 1000;
      await sleep(lease.heartbeat_seconds ?? 5, AbortSignal.any([changed.signal, stop.signal]));
      if (stopped()) return;
      loop_lag = Math.max(0, performance.now() - due) / 1000; // A loop that is blocked is late for everything.
      changed = new AbortController();
    }
  };

  const failed = client.login(process.env.BOT_TOKEN).then(
    () => new Promise(() => {}),
    (error) => console.log(`the bot ended: ${error.message}`),
  );
  await Promise.race([beats(), failed, refused, stopping]);
  if (close_code) await beat();
  await client.destroy();
  await fetch(`${url}/disconnect?session_id=${session_id}`, { headers }).catch(() => undefined);
}
process.exit(0);
