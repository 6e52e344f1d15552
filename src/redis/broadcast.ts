import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { addressOf, importersOf, nodeTarget, parseClusterNodes } from './cluster-nodes.js';
import { describeTarget, type RedisTarget, type ServerTarget } from './connection.js';
import { PushConnection } from './push-connection.js';

export interface BroadcastEvents {
  /** A key with one of the prefixes may have changed; no key: all may have. It can come twice. */
  readonly onPush: (key: string | undefined) => void;
  /** From now on every change of keys with one of these prefixes is told. */
  readonly onInForce: (prefixes: readonly string[]) => void;
  /** Changes may go untold from now on, or went untold. */
  readonly onLost: () => void;
}

/**
 * Tells of changes of all keys that begin in some way, by BCAST tracking
 * (https://redis.io/docs/latest/develop/reference/client-side-caching/#broadcasting-mode), over connections of its own
 * that are open while a prefix is followed.
 *
 * A connection takes no overlapping prefixes, and forgets what is on its way to it when its prefixes are taken back; so
 * other prefixes are followed over new connections, and the old ones stay until those are there.
 */
export class KeyBroadcast {
  private current: Following | undefined;
  private coming: Following | undefined;
  /** Was `current`, and is heard out. */
  private leaving: Following | undefined;
  private wanted: readonly string[] = [];

  constructor(
    private readonly target: RedisTarget,
    private readonly logger: Logger,
    private readonly events: BroadcastEvents,
  ) {}

  /** Follows keys that begin with one of these, others too where that is cheaper; `onInForce` tells from when on. */
  follow(prefixes: readonly string[]): void {
    this.wanted = coverOf(prefixes);
    this.advance();
  }

  /** Whether changes of keys with this prefix are told now, and will be when the connections on their way take over. */
  covers(prefix: string): boolean {
    return this.current?.inForce === true && this.current.covers(prefix) && this.coming?.covers(prefix) !== false;
  }

  close(): void {
    this.wanted = [];
    this.advance();
  }

  private advance(): void {
    if (this.wanted.length === 0) {
      this.current?.close();
      this.coming?.close();
      this.leaving?.close();
      this.current = this.coming = this.leaving = undefined;
      return;
    }
    // a process that does not keep up must not hear the same over more and more connections
    if (this.leaving !== undefined) return;
    const latest = this.coming ?? this.current;
    if (latest !== undefined && isDeepStrictEqual(latest.prefixes, this.wanted)) return;
    // one after the other: whoever adds prefixes all the time must not keep the earlier ones from being followed
    if (this.coming?.hasFailed === false) return;
    this.coming?.close();
    const following = new Following(this.target, this.wanted, this.logger, {
      onPush: this.events.onPush,
      onInForce: () => {
        this.inForce(following);
      },
      onLost: () => {
        if (following === this.current) this.events.onLost();
        this.advance();
      },
    });
    this.coming = following;
  }

  private inForce(following: Following): void {
    if (following === this.coming) {
      if (this.current !== undefined) void this.hearOut(this.current);
      this.current = following;
      this.coming = undefined;
    }
    if (following === this.current) this.events.onInForce(following.prefixes);
    this.advance();
  }

  /** What was told before others took over may still be on its way. */
  private async hearOut(following: Following): Promise<void> {
    this.leaving = following;
    const heardAll = !following.inForce || (await following.heardAll());
    following.close();
    if (this.leaving !== following) return;
    this.leaving = undefined;
    if (!heardAll) {
      this.events.onLost();
      if (this.current?.inForce === true) this.events.onInForce(this.current.prefixes);
    }
    this.advance();
  }
}

/** Redis compares each written key with each prefix, of all connections together. */
const MAX_PREFIXES = 16;

/** As few prefixes as cover all of these, none of which begins with another one. */
export function coverOf(prefixes: readonly string[]): readonly string[] {
  const cover: string[] = [];
  for (const prefix of [...new Set(prefixes)].sort()) {
    const last = cover.at(-1);
    if (last === undefined || !prefix.startsWith(last)) cover.push(prefix);
  }
  return cover.length <= MAX_PREFIXES ? cover : [commonPrefix(cover)];
}

function commonPrefix(sorted: readonly string[]): string {
  const [first = ''] = sorted;
  const last = sorted.at(-1) ?? '';
  let length = 0;
  while (length < first.length && first[length] === last[length]) length++;
  // half a surrogate pair is no UTF-8: Redis would be told of U+FFFD in its place
  if (isHighSurrogate(first.charCodeAt(length - 1))) length--;
  return first.slice(0, length);
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code < 0xdc00;
}

interface FollowedNode {
  readonly connection: PushConnection;
  /** The node's own id; undefined: not known, or not connected. */
  id: string | undefined;
  /** The masters that have slots, or get the first one, as the node sees it: address by id. */
  masters: ReadonlyMap<string, string>;
}

const NO_MASTERS: ReadonlyMap<string, string> = new Map();

/** The prefixes on every master that is known, over one connection each. */
class Following {
  /** By address. */
  private readonly nodes = new Map<string, FollowedNode>();
  private readonly tracking: readonly string[];
  inForce = false;
  /** Whether a connection was lost or could not be made. */
  hasFailed = false;
  private closed = false;

  constructor(
    private readonly target: RedisTarget,
    readonly prefixes: readonly string[],
    private readonly logger: Logger,
    private readonly events: Omit<BroadcastEvents, 'onInForce'> & { readonly onInForce: () => void },
  ) {
    this.tracking = ['BCAST', ...prefixes.flatMap((prefix) => ['PREFIX', prefix])];
    this.connectSeeds();
  }

  covers(prefix: string): boolean {
    return this.prefixes.some((followed) => prefix.startsWith(followed));
  }

  /** Waits until all that Redis has told until now has come; answers false where it will not come any more. */
  async heardAll(): Promise<boolean> {
    const connected = [...this.nodes.values()].filter(({ id }) => id !== undefined);
    // pushes come in order with replies
    const replies = await Promise.allSettled(connected.map(({ connection }) => connection.send(['PING'])));
    return replies.every(({ status }) => status === 'fulfilled');
  }

  close(): void {
    this.closed = true;
    for (const { connection } of this.nodes.values()) connection.close();
    this.nodes.clear();
  }

  private connectSeeds(): void {
    const { target } = this;
    if (target.topology !== 'cluster') this.connect(describeTarget(target), target);
    else for (const { host, port } of target.seeds) this.connectTo(addressOf(host, port));
  }

  private connectTo(address: string): void {
    if (this.target.topology === 'cluster') this.connect(address, nodeTarget(this.target, address));
  }

  private connect(address: string, target: ServerTarget): void {
    if (this.nodes.has(address)) return;
    const node: FollowedNode = {
      connection: new PushConnection(target, this.tracking, this.logger, {
        onPush: (key) => {
          if (!this.closed) this.events.onPush(key);
        },
        onReady: () => void this.look(address, node),
        onAlive: () => void this.look(address, node),
        onLost: () => {
          node.id = undefined;
          node.masters = NO_MASTERS;
          this.hasFailed = true;
          this.settle();
        },
      }),
      id: undefined,
      masters: NO_MASTERS,
    };
    this.nodes.set(address, node);
  }

  /** Asks a node that is connected who the masters are; none of them may be missing. */
  private async look(address: string, node: FollowedNode): Promise<void> {
    if (this.target.topology !== 'cluster') {
      node.id = address;
      node.masters = new Map([[address, address]]);
    } else {
      try {
        const known = parseClusterNodes(await node.connection.send(['CLUSTER', 'NODES']));
        if (!node.connection.isReady) return;
        node.id = known.find(({ isMyself }) => isMyself)?.id;
        const importers = importersOf(known);
        node.masters = new Map(
          known
            .filter(({ id, isMaster, slots }) => isMaster && (slots.length > 0 || importers.has(id)))
            .map((other) => [other.id, other.isMyself ? address : other.address]),
        );
      } catch {
        // the connection tells of its loss
        return;
      }
    }
    this.settle();
  }

  /** Brings the connections in line with what the nodes say, and tells when that changed what can be told. */
  private settle(): void {
    if (this.closed) return;
    const masters = new Map([...this.nodes.values()].flatMap((node) => [...node.masters]));
    if (masters.size === 0) this.connectSeeds();
    const connected = new Set<string>();
    for (const [address, { id, connection }] of this.nodes) {
      // of one that is not connected it is not known who it is; seeds may be other names of masters
      const isNeeded = id === undefined ? this.isNamed(address, masters) : masters.has(id) && !connected.has(id);
      if (isNeeded || masters.size === 0) {
        if (id !== undefined) connected.add(id);
      } else {
        connection.close();
        this.nodes.delete(address);
      }
    }
    for (const [id, address] of masters) if (!connected.has(id)) this.connectTo(address);
    const inForce = masters.size > 0 && [...masters.keys()].every((id) => connected.has(id));
    if (inForce === this.inForce) return;
    this.inForce = inForce;
    if (inForce) this.events.onInForce();
    else this.events.onLost();
  }

  private isNamed(address: string, masters: ReadonlyMap<string, string>): boolean {
    for (const named of masters.values()) if (named === address) return true;
    return false;
  }
}
