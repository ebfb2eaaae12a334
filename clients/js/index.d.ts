// Takes a Discord bot's shard from Shardman and keeps it.

/// <reference types="node" />
import { EventEmitter } from 'node:events';

/** What `login` needs of a discord.js client (version 14). */
interface DiscordClient {
  token: string | null;
  login(token?: string): Promise<string>;
  destroy(): Promise<void>;
}

/** What `connect` needs of a `WebSocketManager` of @discordjs/ws. */
interface WebSocketManagerLike {
  options: object;
  connect(): Promise<void>;
  destroy(options?: object): PromiseLike<void> | void;
}

export interface Options {
  /** Where the shard comes from; by default the manager of the environment. */
  manager?: Manager;
}

/**
 * Instead of `client.login(token)`: takes a shard from Shardman, however long that takes, logs in with it,
 * and keeps it: asks before each IDENTIFY, beats, leaves the gateway when the manager is silent for too
 * long, and gives the shard back on SIGINT, SIGTERM and `client.destroy()`. When the shard is lost, or the
 * manager wants it back, the client takes another one; its cache of guilds begins anew.
 *
 * `shards`, `shardCount` and `ws.buildIdentifyThrottler` of the client's options are set by this.
 *
 * @returns the token, once the gateway is ready.
 */
export function login(client: DiscordClient, token?: string | null, options?: Options): Promise<string>;

/** Spread these into the options of a `WebSocketManager`. */
export interface GatewayOptions {
  shardIds: number[];
  shardCount: number;
  buildIdentifyThrottler: () => { waitForIdentify(shardId: number, signal: AbortSignal): Promise<void> };
  retrieveSessionInfo: (shardId: number) => SessionInfo | null;
  updateSessionInfo: (shardId: number, session: SessionInfo | null) => void;
}

export interface SessionInfo {
  sessionId: string;
  sequence: number;
  resumeURL: string;
  shardId: number;
  shardCount: number;
}

/**
 * Holds a shard with a bare `WebSocketManager` of @discordjs/ws, made by `build` for each shard that
 * this process gets in the course of time. The gateway session is resumed where the shard's last holder
 * stopped, so a restart costs no IDENTIFY and loses no event.
 *
 * @returns the first manager, once its gateway is ready.
 */
export function connect<T extends WebSocketManagerLike>(
  build: (options: GatewayOptions) => T,
  options?: Options,
): Promise<T>;

/** The manager's HTTP API. */
export class Manager {
  /** By default, `SHARDMAN_URL` and `SECRET` of the environment. */
  constructor(options?: { url?: string; secret?: string });
  /** A shard of our own, however long it takes; undefined when the signal is aborted. Throws `Refused`. */
  connect(options?: { signal?: AbortSignal }): Promise<Lease | undefined>;
}

export type State =
  | 'starting'
  | 'waiting'
  | 'identifying'
  | 'resuming'
  | 'standing_by'
  | 'ready'
  | 'disconnected'
  | 'stopping';

/** Enough to RESUME a gateway session instead of identifying anew. */
export interface ResumePoint {
  session_id: string;
  sequence: number;
  resume_url: string;
  guild_count?: number;
}

/** What the beats say. `latency` and `last_event_age` are in seconds, `event_count` is of this lease. */
export interface Figures {
  guild_count?: number;
  latency?: number;
  last_event_age?: number;
  event_count?: number;
  gateway?: ResumePoint;
}

/**
 * One shard, ours as long as the manager answers our beats. Events: `silent` (close the gateway,
 * resumably, at once), `reconnect` (the manager wants the shard on another gateway connection), `end`
 * (with `lost` or `drain`).
 */
export class Lease extends EventEmitter {
  private constructor();
  readonly shardId: number;
  readonly shardCount: number;
  readonly gatewayUrl?: string;
  readonly resume?: ResumePoint;
  /** Called before each beat. */
  figures: () => Figures;
  /** Begins to beat. */
  start(): void;
  /** Whether the shard may be somebody else's by now. Look before each use of the gateway. */
  readonly expired: boolean;
  /** Why the lease is over, once it is. */
  readonly ended?: 'lost' | 'drain';
  /** Waits until a beat has been answered in time. Throws `LeaseLost`. */
  held(): Promise<void>;
  /** Tells a new state at once, in order; resolves when the manager has heard it. */
  report(state: State, closeCode?: number): Promise<void>;
  /** Waits for the right to send one IDENTIFY; send it right after. Throws `LeaseLost`. */
  permit(signal?: AbortSignal): Promise<void>;
  /** Gives the shard back. Close the gateway first. */
  release(): Promise<void>;
  /** Stops beating. The shard goes to somebody else when its time is up. */
  close(): void;
}

/** The shard is not ours any more. */
export class LeaseLost extends Error {}

/** The manager answered with an error. */
export class Refused extends Error {
  readonly status: number;
  readonly retryAfterMs?: number;
  readonly isLeaseLost: boolean;
}
