// What the types of the JavaScript client must take, and give.

import { REST } from '@discordjs/rest';
import { WebSocketManager } from '@discordjs/ws';
import { Client, GatewayIntentBits } from 'discord.js';
import { connect, type Lease, login, Manager } from 'shardman';

const client = new Client({ intents: [GatewayIntentBits.Guilds] });
const token: Promise<string> = login(client, 'token', { manager: new Manager({ secret: 'secret' }) });

const gateway: Promise<WebSocketManager> = connect(
  (options) => new WebSocketManager({ token: 'token', intents: 1, rest: new REST(), ...options }),
);

const lease: Promise<Lease | undefined> = new Manager().connect();

export { gateway, lease, token };
