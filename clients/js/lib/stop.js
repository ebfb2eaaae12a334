'use strict';

// SIGINT and SIGTERM: leave the gateway and give the shard back first.

const process = require('node:process');

const SIGNALS = ['SIGINT', 'SIGTERM'];

/** Calls `stop` once, then ends the process, unless somebody else sees to the signal. */
function onStop(stop) {
  let asked = false;
  for (const signal of SIGNALS) {
    process.on(signal, async () => {
      if (asked) return;
      asked = true;
      await stop();
      if (process.listenerCount(signal) === 1) process.exit();
    });
  }
}

module.exports = { onStop };
