'use strict';

// Runs discord.js clients: version 14, whose gateway is @discordjs/ws.

const process = require('node:process');

const { Gateway } = require('./gateway');
const { Manager } = require('./manager');
const { onStop } = require('./stop');

/** Reaches a proxy or the simulator instead of Discord itself, where `DISCORD_API_URL` says so. */
function useAnotherDiscord(client) {
  const url = process.env.DISCORD_API_URL?.replace(/\/+$/, '');
  if (url && new URL(url).host !== 'discord.com') client.rest.options.api = `${url}/api`;
}

class Holder {
  #client;
  #token;
  #manager;
  #lease;
  #gateway;
  #stop = new AbortController();
  #leaving;
  #failure;

  constructor(client, token, manager) {
    this.#client = client;
    this.#token = token;
    this.#manager = manager;
    client.options.ws.buildIdentifyThrottler = () => this.#gateway.throttler;
    client.on('shardReady', () => this.#lease?.report('ready'));
    client.on('shardResume', () => this.#lease?.report('ready'));
    // A client that cannot log in destroys itself before it says why.
    const connect = client.ws.connect.bind(client.ws);
    client.ws.connect = () =>
      connect().catch((error) => {
        this.#failure = error;
        throw error;
      });
    // The bot ends by itself.
    const destroy = client.destroy.bind(client);
    client.destroy = async () => {
      await this.stop();
      await destroy();
    };
  }

  /** Holds one shard after the other; `up` is told of the first one, or of why there is none. */
  async run(up) {
    while (!this.#stop.signal.aborted) {
      const lease = await this.#manager.connect({ signal: this.#stop.signal });
      if (!lease) break;
      if (this.#stop.signal.aborted) return lease.release();
      this.#debug(`this bot has shard ${lease.shardId} of ${lease.shardCount}`);
      const end = await this.#hold(lease, up);
      if (this.#failure) throw this.#failure;
      if (this.#stop.signal.aborted) break;
      this.#debug(`the shard is given up: ${end}`);
      await this.#leave();
      if (end === 'refused') {
        process.exitCode = 1;
        throw new Error(`Discord refused the bot with close code ${this.#gateway.refusal}`);
      }
    }
  }

  async stop() {
    this.#stop.abort();
    await this.#leave();
  }

  async #hold(lease, up) {
    const client = this.#client;
    const gateway = new Gateway(lease);
    [this.#lease, this.#gateway, this.#leaving] = [lease, gateway, undefined];
    client.options.shards = [lease.shardId];
    client.options.shardCount = lease.shardCount;
    lease.figures = () => ({ ...gateway.figures(), ...(client.isReady() && { guild_count: client.guilds.cache.size }) });
    lease.start();
    const end = gateway.end();
    const isHeld = await lease.held().then(() => true, () => false);
    if (!isHeld || this.#stop.signal.aborted) return end;

    const connecting = client.token ? this.#connectAgain() : client.login(this.#token);
    gateway.attach(client.ws._ws, { reportsReady: false });
    const connected = gateway.up(connecting).then(up);
    return Promise.race([end, connected.then(() => end)]).finally(() => this.#failure && this.#leave());
  }

  /** Lets the client be another shard than before. Its cache begins anew. */
  #connectAgain() {
    const { client } = this.#client.ws;
    client.ws._ws.removeAllListeners();
    client.ws._ws = null;
    client.ws.shards.clear();
    client.guilds.cache.clear();
    client.channels.cache.clear();
    return client.ws.connect();
  }

  /** Leaves the gateway, then gives the shard back. */
  #leave() {
    const [lease, gateway] = [this.#lease, this.#gateway];
    this.#leaving ??= (async () => {
      // Nobody resumes a session whose cache is gone.
      await gateway?.leave(1000);
      if (gateway?.refusal) await gateway.tellRefusal(gateway.refusal);
      await lease?.release();
    })();
    return this.#leaving;
  }

  #debug(message) {
    this.#client.emit('debug', `[shardman] ${message}`);
  }
}

/** See index.d.ts. */
function login(client, token = client.token, { manager = new Manager() } = {}) {
  useAnotherDiscord(client);
  client.token = null;
  const holder = new Holder(client, token, manager);
  onStop(() => client.destroy());
  let isUp = false;
  return new Promise((resolve, reject) => {
    const up = () => {
      isUp = true;
      resolve(token);
    };
    holder.run(up).catch((error) => (isUp ? console.error(error) : reject(error)));
  });
}

module.exports = { login };
