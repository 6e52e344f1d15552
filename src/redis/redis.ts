import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Call } from './call.js';
import { RedisClock } from './clock.js';
import { createConnection, type NodeCommand, type RedisConnection, type RedisTarget } from './connection.js';
import { isSlotMoving, redisUnavailable, replyCode, toDomainError } from './errors.js';
import type { AnyLuaScript, BoundScript, ScriptArg } from './lua-script.js';
import { inspectNode, type NodeReport } from './node-report.js';
import { ErrorLog } from './error-log.js';

export interface RedisOptions {
  readonly target: RedisTarget;
  /** Loaded into every node before it serves. */
  readonly scripts: readonly AnyLuaScript[];
  readonly logger: Logger;
  /** How often one call is sent again while its slot moves; undefined: until its deadline. */
  readonly maxRetries?: number;
  /** Called with what a node says of itself, before it serves; throwing keeps it from serving. */
  readonly onNode?: (report: NodeReport, redis: Redis) => Promise<void>;
}

const RETRY_BASE_MS = 2;
const RETRY_MAX_MS = 50;
/** The last try must be over early enough for its answer to reach the caller. */
const RETRY_MARGIN_MS = 50;

/**
 * One Redis (a server or a Cluster) as the stores see it: runs a script or a plain command for a call, turns what goes
 * wrong into domain errors, and comes back by itself after any outage. Nothing is queued while Redis is away.
 */
export class Redis {
  readonly clock = new RedisClock();
  private readonly connection: RedisConnection;
  private readonly listeners: ((ready: boolean) => void)[] = [];
  private readonly errorLog: ErrorLog;
  private ready = false;

  constructor(private readonly options: RedisOptions) {
    this.errorLog = new ErrorLog(options.logger);
    this.connection = createConnection(
      options.target,
      {
        onNodeReady: (node, address) => this.prepareNode(node, address),
        onStateChange: (ready) => {
          this.setReady(ready);
        },
      },
      options.logger,
    );
  }

  get topology(): 'standalone' | 'cluster' {
    return this.connection.topology;
  }

  /** True while commands can be served; on Cluster by at least one master. */
  get isReady(): boolean {
    return this.ready;
  }

  /** Calls back on every change of `isReady`. */
  onStateChange(listener: (ready: boolean) => void): void {
    this.listeners.push(listener);
  }

  connect(): void {
    this.connection.connect();
    this.clock.start((command) => this.connection.send(undefined, command));
  }

  /** Runs a script: one round trip, atomic. Throws domain errors; what a caller may not see passes as it is. */
  async run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    const { script, keys, args } = bound;
    const command = ['EVALSHA', script.sha1, String(keys.length), ...keys, ...args];
    const reply = await this.attempt(keys[0], command, script, call);
    return script.parse(reply);
  }

  /** Sends one plain command that is atomic by itself. `key` routes it. */
  async command(
    key: string,
    command: readonly ScriptArg[],
    call: Call,
    options: { readOnly: boolean },
  ): Promise<unknown> {
    return this.attempt(key, command, options, call);
  }

  async close(): Promise<void> {
    this.clock.stop();
    await this.connection.close();
  }

  destroy(): void {
    this.clock.stop();
    this.connection.destroy();
  }

  private async attempt(
    key: string | undefined,
    command: readonly ScriptArg[],
    operation: Pick<AnyLuaScript, 'readOnly'> & Partial<Pick<AnyLuaScript, 'name' | 'source'>>,
    call: Call,
  ): Promise<unknown> {
    for (let retries = 0; ; retries++) {
      if (call.ended || performance.now() >= call.deadlineAt)
        throw redisUnavailable('the call ended before Redis was asked');
      try {
        return await this.sendWithScript(key, command, operation.source);
      } catch (error) {
        if (isSlotMoving(error) && retries < (this.options.maxRetries ?? Number.POSITIVE_INFINITY)) {
          const ceiling = Math.min(RETRY_BASE_MS * 2 ** retries, RETRY_MAX_MS);
          const delayMs = ceiling / 2 + Math.random() * (ceiling / 2);
          if (performance.now() + delayMs + RETRY_MARGIN_MS < call.deadlineAt) {
            await sleep(delayMs);
            continue;
          }
        }
        this.errorLog.record(operation.name ?? String(command[0]), error);
        throw toDomainError(error, operation);
      }
    }
  }

  /** A node that lost the script (restart, SCRIPT FLUSH, failover, new master) gets its text, once a call. */
  private async sendWithScript(
    key: string | undefined,
    command: readonly ScriptArg[],
    source: string | undefined,
  ): Promise<unknown> {
    try {
      return await this.connection.send(key, command);
    } catch (error) {
      if (source === undefined || replyCode(error) !== 'NOSCRIPT') throw error;
      return this.connection.send(key, ['EVAL', source, ...command.slice(2)]);
    }
  }

  private async prepareNode(node: NodeCommand, address: string): Promise<void> {
    const report = await inspectNode(node, address);
    await Promise.all(this.options.scripts.map((script) => node(['SCRIPT', 'LOAD', script.source])));
    await this.clock.sample(node);
    await this.options.onNode?.(report, this);
  }

  private setReady(ready: boolean): void {
    if (ready === this.ready) return;
    this.ready = ready;
    for (const listener of this.listeners) listener(ready);
  }
}
