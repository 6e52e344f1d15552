import type { Socket } from 'node:net';
import type { Metadata, ServerInterceptingCall } from '@grpc/grpc-js';
import type { DeadlineWheel } from '../wire/deadline-wheel.js';
import type { Authority } from './authority.js';
import { PendingRequests } from './pending-requests.js';
import type { Rejections } from './rejections.js';

type AuthContext = ReturnType<ServerInterceptingCall['getAuthContext']>;

/** What lasts on a connection, and moves to another one when it is asked to. */
export interface Lasting {
  drain(): void;
}

/** What the connections of one server have in common. */
export interface ConnectionSurroundings {
  readonly maxMetadataBytes: number;
  readonly maxRequestBytes: number;
  /** Whom callers have to show a credential; undefined: nobody. */
  readonly authority: Authority | undefined;
  /** The longest time that a call has, and so also its request. */
  readonly maxDeadlineMs: number;
  readonly rejections: Rejections;
  /** Ends calls whose request does not end. */
  readonly requestDeadlines: DeadlineWheel;
  /** Long answers on their way, of all connections. */
  readonly unsent: { bytes: number };
  /** Called when more of them is on the way than may be. */
  readonly onTooMuchUnsent: () => void;
}

/** What is wrong with a connection that should be closed. */
export type ConnectionFault = 'slow_reader' | 'slow_request' | 'flood' | 'ended';

/** Long answers of unary calls, on their way on one connection, from which on another one is given up. */
const MAX_UNSENT_BYTES = 33_554_432;
/** The same of all connections together: then the one that holds most of it is closed. */
const MAX_UNSENT_BYTES_IN_ALL = 268_435_456;
/** Streams of the pipeline; a client needs one, and a second one when the first goes. */
const MAX_PIPELINES = 64;
/** A connection that takes less than this in the longest time of a call, while long answers wait, does not read. */
const MIN_PROGRESS_BYTES = 65_536;

/** Requests that did not become complete in time; each may leave its stream open. With more of them a connection has to go. */
const MAX_SLOW_REQUESTS = 16;
/** More than that between two looks, without a call or a message in it, is nothing that a client sends. */
const MAX_IDLE_BYTES = 67_108_864;

const connections = new WeakMap<Metadata, Connection>();

/** The connection that a call of a stream RPC came on; undefined for unary calls. */
export function connectionOf(metadata: Metadata): Connection | undefined {
  return connections.get(metadata);
}

/** One connection to the service, as far as its calls share it. */
export class Connection {
  /** `address:port`, or `unknown` for a unix socket. */
  readonly peer: string;
  pipelines = 0;
  healthWatches = 0;
  /** Calls and messages that came. */
  arrivals = 0;
  readonly pending: PendingRequests;
  private readonly lasting = new Set<Lasting>();
  private identity: AuthContext | undefined;
  private retired = false;
  private unsentBytes = 0;
  private answersTaken = 0;
  private progress = { at: 0, answersTaken: 0, bytesWritten: 0 };
  private slowRequests = 0;
  private keepers = 0;
  private looked = { arrivals: 0, bytesRead: 0, hadEnded: false };

  constructor(
    private readonly socket: Socket,
    readonly surroundings: ConnectionSurroundings,
    /** Tells the other side to open another one for its next calls. */
    private readonly sendAway: () => void,
  ) {
    this.pending = new PendingRequests(surroundings.maxRequestBytes);
    const { remoteAddress, remotePort } = socket;
    this.peer = remoteAddress === undefined ? 'unknown' : `${remoteAddress}:${String(remotePort)}`;
  }

  get mayOpenPipeline(): boolean {
    return this.pipelines < MAX_PIPELINES;
  }

  get unsent(): number {
    return this.unsentBytes;
  }

  /** Who is at the other end, by its certificate; asked for once, since reading a certificate takes longer than a call. */
  authContext(ask: () => AuthContext): AuthContext {
    this.identity ??= ask();
    return this.identity;
  }

  /** Says on which connection the stream with this metadata came. */
  carries(metadata: Metadata): void {
    connections.set(metadata, this);
  }

  /** Tells `lasting` when the connection is to go, at once if it was told already. Answers how to forget it. */
  hold(lasting: Lasting): () => void {
    this.lasting.add(lasting);
    if (this.retired) lasting.drain();
    return () => {
      this.lasting.delete(lasting);
    };
  }

  /** Something holds the connection open, however old it is. Answers how to let it go. */
  keep(): () => void {
    this.keepers++;
    return () => {
      this.keepers--;
    };
  }

  get isKept(): boolean {
    return this.keepers > 0;
  }

  /** A request was not complete in time. */
  slowRequest(): void {
    this.surroundings.rejections.count('slow_request');
    if (++this.slowRequests === MAX_SLOW_REQUESTS) this.retire();
  }

  /** The connection takes no more calls, and what lasts on it shall move. */
  retire(): void {
    if (this.retired) return;
    this.retired = true;
    // first: what moves must not open its next stream here
    this.sendAway();
    for (const each of this.lasting) each.drain();
  }

  /** Counts a long answer that is on its way; false where too much of that is. */
  reserve(bytes: number): boolean {
    const { unsent, onTooMuchUnsent } = this.surroundings;
    if (this.unsentBytes + bytes > MAX_UNSENT_BYTES && this.unsentBytes > 0) return false;
    if (this.unsentBytes === 0) this.remember();
    this.unsentBytes += bytes;
    unsent.bytes += bytes;
    if (unsent.bytes > MAX_UNSENT_BYTES_IN_ALL) onTooMuchUnsent();
    return true;
  }

  release(bytes: number): void {
    this.answersTaken++;
    this.unsentBytes -= bytes;
    this.surroundings.unsent.bytes -= bytes;
  }

  /** Looks how much there may be of requests that are not complete, in bytes. */
  lookAtPending(): number {
    return this.pending.look(this.socket.bytesRead);
  }

  /** Looks at what has become of it since the last look. */
  faultOf(now: number): ConnectionFault | undefined {
    const { looked, socket, arrivals } = this;
    // an HTTP/2 session that failed is over, but its socket waits for the other side
    if (looked.hadEnded) return 'ended';
    const isFlood = arrivals === looked.arrivals && socket.bytesRead - looked.bytesRead > MAX_IDLE_BYTES;
    this.looked = { arrivals, bytesRead: socket.bytesRead, hadEnded: socket.writableEnded };
    if (isFlood) return 'flood';
    return this.isStalled(now) ? 'slow_reader' : undefined;
  }

  /** Closes it as it is: who does not read cannot be told why. */
  close(): void {
    this.socket.destroy();
  }

  /** True where long answers wait and the other side has taken next to nothing for the longest time of a call. */
  private isStalled(now: number): boolean {
    if (this.unsentBytes === 0) return false;
    const { progress, socket } = this;
    const moved =
      this.answersTaken !== progress.answersTaken || socket.bytesWritten - progress.bytesWritten >= MIN_PROGRESS_BYTES;
    if (moved) this.remember();
    return !moved && now - progress.at >= this.surroundings.maxDeadlineMs;
  }

  private remember(): void {
    this.progress = {
      at: performance.now(),
      answersTaken: this.answersTaken,
      bytesWritten: this.socket.bytesWritten,
    };
  }
}
