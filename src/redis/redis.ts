import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { BatchedReads } from './batched-reads.js';
import { BatchedScripts } from './batched-scripts.js';
import type { Call } from './call.js';
import { RedisClock } from './clock.js';
import type { DomainError } from '../errors.js';
import { CommandCounts } from './command-counts.js';
import type { ConnectionStatus, MasterNode, NodeCommand, RedisConnection } from './connection.js';
import { createConnection } from './create-connection.js';
import { isSlotMoving, neverSent, redisUnavailable, replyCode, toDomainError } from './errors.js';
import { namespaceOfKey } from './keys.js';
import type { AnyLuaScript, BoundScript, ScriptArg, SentScript } from './lua-script.js';
import { inspectNode, readInfo, type NodeInfo, type NodeReport } from './node-report.js';
import { ErrorLog } from './error-log.js';
import { isRefused } from './refusals.js';
import { checkPermissions } from './permissions.js';
import type { RedisSettings } from './redis-settings.js';
import { OperationTimer } from './operation-timer.js';
import { PagedScan } from './paged-scan.js';
import { scanMasters } from './scan.js';
import { SlowLog } from './slow-log.js';

export interface RedisOptions extends RedisSettings {
  /** Called with what a node says of itself, before it serves; throwing keeps it from serving. */
  readonly onNode?: (report: NodeReport, redis: Redis) => Promise<void>;
}

/** Rights are looked at so often at most. */
const RECHECK_MS = 1_000;
const RETRY_BASE_MS = 2;
const RETRY_MAX_MS = 50;
/** The last try must be over early enough for its answer to reach the caller. */
const RETRY_MARGIN_MS = 50;

interface Operation {
  readonly name: string;
  readonly routingKey: string;
  readonly command: readonly ScriptArg[];
  /** Undefined for a plain read. */
  readonly script: Pick<AnyLuaScript, 'source' | 'sha1' | 'readOnly'> | undefined;
}

/** Stands for calls that share a command. Only a Cluster, where none do, makes a script wait; so nothing is waited for. */
const ONE_OF_MANY: Call = { namespace: '', deadlineAt: 0, ended: false };

function rethrow(error: unknown): never {
  throw error;
}

function hasEnded(call: Call): boolean {
  return call.ended || performance.now() >= call.deadlineAt;
}

function endedBefore(): DomainError {
  return redisUnavailable('the call ended before Redis was asked');
}

/**
 * One Redis (a server or a Cluster) as the stores see it: runs a script or a plain command for a call, turns what goes
 * wrong into domain errors, and comes back by itself after any outage. Nothing is queued while Redis is away.
 */
export class Redis {
  readonly clock = new RedisClock();
  readonly counts = new CommandCounts();
  private readonly connection: RedisConnection;
  private readonly listeners: ((ready: boolean) => void)[] = [];
  private readonly writeListeners: ((keys: readonly string[]) => void)[] = [];
  private readonly errorLog: ErrorLog;
  private readonly timer: OperationTimer;
  private readonly slowLog: SlowLog;
  private readonly reads: BatchedReads | undefined;
  private readonly batches: BatchedScripts | undefined;
  private ready = false;
  private recheckAt = 0;
  /** Digests of the scripts whose answers wait for replicas. */
  private readonly held: ReadonlySet<string>;

  constructor(private readonly options: RedisOptions) {
    this.errorLog = new ErrorLog(options.logger);
    const writing = (options.replicated?.scripts ?? []).filter(({ readOnly }) => !readOnly);
    this.held = new Set(writing.flatMap(({ sha1, batch }) => (batch === undefined ? [sha1] : [sha1, batch.sha1])));
    this.timer = options.timer ?? new OperationTimer(0);
    this.slowLog = new SlowLog(options.logger);
    this.connection = createConnection(
      options.target,
      {
        onNodeReady: (node, address) => this.prepareNode(node, address),
        onStateChange: (ready) => {
          this.setReady(ready);
        },
      },
      { logger: options.logger, timeoutMs: options.timeoutMs, replicas: options.replicated },
    );
    if (this.connection.topology === 'standalone') {
      this.reads = new BatchedReads(
        (command) => {
          const [name, routingKey = ''] = command;
          return this.send({ name, routingKey, command, script: undefined }, ONE_OF_MANY, rethrow);
        },
        (error) => this.domainError(error, 'GET', { readOnly: true }),
      );
      this.batches = new BatchedScripts(
        (script, keys, args) => this.evaluate(script, keys, args, ONE_OF_MANY),
        (error, script) => {
          this.counts.failed(error);
          return this.domainError(error, script.name, script);
        },
      );
    }
  }

  get topology(): 'standalone' | 'cluster' {
    return this.connection.topology;
  }

  /** True while commands can be served; on Cluster by at least one master, at the start by all that come within seconds. */
  get isReady(): boolean {
    return this.ready;
  }

  get status(): ConnectionStatus {
    return this.connection.status;
  }

  /** Calls back on every change of `isReady`. */
  onStateChange(listener: (ready: boolean) => void): void {
    this.listeners.push(listener);
  }

  /** Calls back with the keys of every script that may have written, before whoever ran it is answered. */
  onWritten(listener: (keys: readonly string[]) => void): void {
    this.writeListeners.push(listener);
  }

  connect(): void {
    this.connection.connect();
    this.clock.start((command) => this.connection.send(undefined, command));
  }

  /** Runs a script: one round trip, atomic. Throws domain errors; what a caller may not see passes as it is. */
  run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    if (hasEnded(call)) return Promise.reject(endedBefore());
    if (call.trace === undefined) return this.runScript(bound, call);
    return call.trace.operation('EVALSHA', bound.script.name, () => this.runScript(bound, call));
  }

  private runScript<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    const { script, keys, args } = bound;
    if (this.batches !== undefined && script.batch !== undefined) return this.batches.run(bound);
    return this.evaluate(script, keys, args, call).then(script.parse);
  }

  /** What `parse` makes of the string at a key; it gets null where there is none. The reads of one tick share a command. */
  get<Value>(key: string, parse: (value: unknown) => Value | Promise<Value>, call: Call): Promise<Value> {
    // no look at the clock: the call's own timer ends it
    if (call.ended) return Promise.reject(endedBefore());
    const { reads } = this;
    if (reads === undefined) return this.read(key, ['GET', key], call).then(parse);
    return call.trace === undefined
      ? reads.get(key, parse)
      : call.trace.operation('GET', undefined, () => reads.get(key, parse));
  }

  /** Sends one plain reading command to where the key is. */
  read(routingKey: string, command: readonly [name: string, ...args: string[]], call: Call): Promise<unknown> {
    if (call.ended) return Promise.reject(endedBefore());
    const [name] = command;
    const operation = { name, routingKey, command, script: undefined };
    if (call.trace === undefined) return this.perform(operation, call);
    return call.trace.operation(name, undefined, () => this.perform(operation, call));
  }

  /** Every master, to be asked by itself; one that is away fails what is sent to it. */
  masters(): readonly MasterNode[] {
    return this.connection.masters();
  }

  /** The keys of every master that match, page by page; what it promises is told at `scanMasters`. */
  async *scan(match: string, call: Call): AsyncGenerator<readonly Buffer[], void> {
    try {
      for await (const page of scanMasters(() => this.connection.masters(), match)) {
        if (hasEnded(call)) throw endedBefore();
        yield page;
      }
    } catch (error) {
      // the end of a call is nothing that Redis did
      throw hasEnded(call) ? endedBefore() : this.domainError(error, 'SCAN', { readOnly: true });
    }
  }

  /** The same in steps, for whoever goes on later. */
  pagedScan(match: string): PagedScan {
    return new PagedScan(
      () => this.connection.masters(),
      match,
      (error) => this.domainError(error, 'SCAN', { readOnly: true }),
    );
  }

  /** What every master says of itself in a section of INFO; fails where one is away. */
  async info(section: string, call: Call): Promise<readonly NodeInfo[]> {
    if (hasEnded(call)) throw endedBefore();
    try {
      return await Promise.all(
        this.connection
          .masters()
          .map(async ({ address, send }) => ({ address, fields: await readInfo(send, section) })),
      );
    } catch (error) {
      throw this.domainError(error, 'INFO', { readOnly: true });
    }
  }

  async close(): Promise<void> {
    this.clock.stop();
    await this.connection.close();
  }

  destroy(): void {
    this.clock.stop();
    this.connection.destroy();
  }

  /** Sends a script as one command, and tells of what it may have written before it answers. Throws domain errors. */
  private evaluate(
    script: SentScript,
    keys: readonly string[],
    args: readonly ScriptArg[],
    call: Call,
  ): Promise<unknown> {
    const routingKey = keys[0] ?? '';
    const command = ['EVALSHA', script.sha1, String(keys.length), ...keys, ...args];
    const reply = this.perform({ name: script.name, routingKey, command, script }, call);
    if (script.readOnly || this.writeListeners.length === 0) return reply;
    // also when it failed: an outcome that got lost may have been a write
    return reply.finally(() => {
      for (const listener of this.writeListeners) listener(keys);
    });
  }

  private perform(operation: Operation, call: Call): Promise<unknown> {
    return this.send(operation, call, (error) => this.recover(error, operation, call));
  }

  /** Sends one command, and looks at how long its reply takes. */
  private send(operation: Operation, call: Call, onError: (error: unknown) => unknown): Promise<unknown> {
    const { counts } = this;
    counts.pending++;
    const sentAt = performance.now();
    return this.dispatch(operation).then(
      (reply) => {
        counts.pending--;
        this.timed(operation, sentAt, call);
        return reply;
      },
      (error: unknown) => {
        counts.pending--;
        counts.failed(error);
        if (!neverSent(error)) this.timed(operation, sentAt, call);
        return onError(error);
      },
    );
  }

  private dispatch({ script, routingKey, command }: Operation): Promise<unknown> {
    const { connection, held } = this;
    if (held.size === 0 || script === undefined || !held.has(script.sha1)) return connection.send(routingKey, command);
    return connection.sendHeld(routingKey, command);
  }

  private timed({ name, routingKey }: Operation, sentAt: number, call: Call): void {
    const durationMs = performance.now() - sentAt;
    if (!this.timer.observe(name, durationMs)) return;
    // what calls share has a key of a namespace, always; what is sent for one call may not
    const namespace = call === ONE_OF_MANY ? namespaceOfKey(routingKey) : call.namespace;
    this.slowLog.record({ script: name, durationMs, namespace, rpc: call.rpc });
  }

  /**
   * What can still be done when a command failed: a node that lost the script (restart, SCRIPT FLUSH, failover, new
   * master) gets its text, once; a slot on its way is asked again until the deadline. Otherwise throws a domain error.
   */
  private async recover(failure: unknown, operation: Operation, call: Call): Promise<unknown> {
    const { name, script } = operation;
    let { command } = operation;
    let error = failure;
    for (let retries = 0; ;) {
      if (script !== undefined && replyCode(error) === 'NOSCRIPT' && command[0] === 'EVALSHA') {
        command = ['EVAL', script.source, ...command.slice(2)];
        this.counts.scriptReloads++;
      } else if (isSlotMoving(error) && retries < (this.options.maxRetries ?? Number.POSITIVE_INFINITY)) {
        const ceiling = Math.min(RETRY_BASE_MS * 2 ** retries++, RETRY_MAX_MS);
        const delayMs = ceiling / 2 + Math.random() * (ceiling / 2);
        if (performance.now() + delayMs + RETRY_MARGIN_MS >= call.deadlineAt) break;
        await sleep(delayMs);
        if (hasEnded(call)) break;
      } else {
        break;
      }
      try {
        return await this.send({ ...operation, command }, call, rethrow);
      } catch (again) {
        error = again;
      }
    }
    throw this.domainError(error, name, { readOnly: script?.readOnly ?? true });
  }

  private domainError(error: unknown, name: string, options: { readOnly: boolean }): unknown {
    this.errorLog.record(name, error);
    if (isRefused(error)) this.recheck();
    if (replyCode(error) === 'READONLY') this.connection.distrust();
    return toDomainError(error, options);
  }

  /** A user that lost a right would fail call after call while health says that all is well. */
  private recheck(): void {
    const now = performance.now();
    if (!this.ready || now < this.recheckAt) return;
    this.recheckAt = now + RECHECK_MS;
    this.connection.recheck();
  }

  private async prepareNode(node: NodeCommand, address: string): Promise<void> {
    const report = await inspectNode(node, address);
    const batches = this.batches === undefined ? [] : this.options.scripts.flatMap(({ batch }) => batch ?? []);
    const scripts = [...this.options.scripts, ...batches];
    await checkPermissions(node, scripts, { ...this.options.permissions, topology: this.topology });
    await Promise.all(scripts.map(({ source }) => node(['SCRIPT', 'LOAD', source])));
    await this.clock.sample(node);
    await this.options.onNode?.(report, this);
  }

  private setReady(ready: boolean): void {
    if (ready === this.ready) return;
    this.ready = ready;
    for (const listener of this.listeners) listener(ready);
  }
}
