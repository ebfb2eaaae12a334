'use strict';

// Takes a Discord bot's shard from Shardman and keeps it. See index.d.ts.

const { login } = require('./lib/discordjs');
const { Lease } = require('./lib/lease');
const { LeaseLost, Manager, Refused } = require('./lib/manager');
const { connect } = require('./lib/ws');

module.exports = { connect, Lease, LeaseLost, login, Manager, Refused };
