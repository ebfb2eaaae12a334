'use strict';

// Runs a bare @discordjs/ws manager. There is no cache to lose, so the gateway
// session goes from holder to holder.

const process = require('node:process');

const { Gateway, LAST_BEAT_TIMEOUT_MS, RESUMABLE, within } = require('./gateway');
const { Manager } = require('./manager');
const { onStop } = require('./stop');

/** See index.d.ts. */
async function connect(build, { manager = new Manager() } = {}) {
  const stop = new AbortController();
  let leave = () => {};
  onStop(async () => {
    stop.abort();
    await leave();
  });

  const hold = async (lease, up) => {
    const gateway = new Gateway(lease);
    const guilds = new Guilds(lease.resume);
    let session = sessionOf(lease);
    const ws = build({
      shardIds: [lease.shardId],
      shardCount: lease.shardCount,
      buildIdentifyThrottler: () => gateway.throttler,
      retrieveSessionInfo: () => session,
      updateSessionInfo: (_, next) => (session = next),
    });
    gateway.attach(ws);
    ws.on('dispatch', (event) => guilds.observe(event?.data?.op === 0 ? event.data : event));
    lease.figures = () => ({ ...gateway.figures(), guild_count: guilds.count, gateway: resumePointOf(session) });
    let left;
    leave = () =>
      (left ??= (async () => {
        await gateway.leave(RESUMABLE);
        if (gateway.refusal) await gateway.tellRefusal(gateway.refusal);
        // The next holder resumes after the last event that came in.
        else if (!lease.expired) await within(LAST_BEAT_TIMEOUT_MS, lease.report('disconnected'));
        await lease.release();
      })());

    lease.start();
    const end = gateway.end();
    try {
      const isHeld = await lease.held().then(() => true, () => false);
      if (isHeld && !stop.signal.aborted) await Promise.race([end, gateway.up(ws.connect()).then(() => up(ws))]);
      return await end;
    } finally {
      await leave();
    }
  };

  let isUp = false;
  return new Promise((resolve, reject) => {
    const up = (ws) => {
      isUp = true;
      resolve(ws);
    };
    (async () => {
      while (!stop.signal.aborted) {
        const lease = await manager.connect({ signal: stop.signal });
        if (!lease) return;
        if (stop.signal.aborted) return void (await lease.release());
        if ((await hold(lease, up)) === 'refused') throw new Error('Discord refused the bot for good');
      }
    })().catch((error) => {
      process.exitCode = 1;
      if (isUp) console.error(error);
      else reject(error);
    });
  });
}

/** Where the shard's last holder stopped, as the library keeps it. */
function sessionOf({ resume, shardId, shardCount }) {
  if (!resume) return null;
  const { session_id: sessionId, sequence, resume_url: resumeURL } = resume;
  return { sessionId, sequence, resumeURL, shardId, shardCount };
}

function resumePointOf(session) {
  if (!session) return undefined;
  return { session_id: session.sessionId, sequence: session.sequence, resume_url: session.resumeURL };
}

/** Counts guilds. A resumed session does not list them, so it goes on from the last holder's count. */
class Guilds {
  #known;
  #inherited;

  constructor(resume) {
    this.#inherited = resume?.guild_count;
  }

  get count() {
    return this.#known?.size ?? this.#inherited;
  }

  observe({ t, d }) {
    if (t === 'READY') this.#known = new Set(d.guilds.map((guild) => guild.id));
    else if (t === 'GUILD_CREATE') this.#known?.add(d.id);
    else if (t === 'GUILD_DELETE' && !d.unavailable) this.#known?.delete(d.id);
  }
}

module.exports = { connect };
