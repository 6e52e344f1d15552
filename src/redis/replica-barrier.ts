import type { NodeCommand, ReplicaTerms } from './connection.js';
import { redisUnavailable, tooFewReplicas } from './errors.js';
import type { ScriptArg } from './lua-script.js';

/** Writes that are answered together. */
interface Group {
  readonly replicated: Promise<void>;
  readonly settle: (failure?: Error) => void;
}

const LOOK_AGAIN_MS = 200;

/**
 * Holds back the answers of writes to one master until so many replicas have them (WAIT). WAIT is about what its own
 * connection has written and blocks that connection: so it is one for all writes of a turn of the event loop, behind
 * them, and while it is on its way the next ones gather for another.
 *
 * Once too few replicas answered in time, writes are refused before they are sent until enough are there again: each would
 * keep the connection, and with it every read, for as long as the last one.
 */
export class ReplicaBarrier {
  private group: Group | undefined;
  private isWaiting = false;
  private hasTooFew = false;

  constructor(
    private readonly node: NodeCommand,
    private readonly terms: ReplicaTerms,
  ) {}

  /** Sends a command. Throws what the node does, or OUTCOME_UNKNOWN where too few replicas have it in time. */
  async send(command: readonly ScriptArg[]): Promise<unknown> {
    if (this.hasTooFew) throw redisUnavailable('too few replicas are there');
    const replicated = this.written();
    const reply = await this.node(command);
    await replicated;
    return reply;
  }

  /** Resolves when replicas have what was sent over this connection until now. */
  written(): Promise<void> {
    if (this.group === undefined) {
      this.group = openGroup();
      // behind what this turn still sends; node-redis writes after that
      if (!this.isWaiting) process.nextTick(() => void this.wait());
    }
    return this.group.replicated;
  }

  private async wait(): Promise<void> {
    const { group } = this;
    if (group === undefined) return;
    this.group = undefined;
    this.isWaiting = true;
    try {
      if (await this.isReplicated(this.terms.timeoutMs)) group.settle();
      else {
        this.tooFew();
        group.settle(tooFewReplicas());
      }
    } catch (error) {
      group.settle(error instanceof Error ? error : tooFewReplicas());
    }
    this.isWaiting = false;
    void this.wait();
  }

  private async isReplicated(timeoutMs: number): Promise<boolean> {
    const { count } = this.terms;
    const replicas = await this.node(['WAIT', String(count), String(timeoutMs)]);
    return typeof replicas === 'number' && replicas >= count;
  }

  private tooFew(): void {
    if (this.hasTooFew) return;
    this.hasTooFew = true;
    const look = async (): Promise<void> => {
      // the shortest; 0 would be for ever
      if (await this.isReplicated(1)) this.hasTooFew = false;
      else setTimeout(lookAgain, LOOK_AGAIN_MS).unref();
    };
    // a connection that is lost has a successor, with a barrier of its own
    const lookAgain = (): void => void look().catch(() => undefined);
    setTimeout(lookAgain, LOOK_AGAIN_MS).unref();
  }
}

function openGroup(): Group {
  let settle: Group['settle'] = () => undefined;
  const replicated = new Promise<void>((resolve, reject) => {
    settle = (failure) => {
      if (failure === undefined) resolve();
      else reject(failure);
    };
  });
  // of a command that failed itself nobody waits for it
  replicated.catch(() => undefined);
  return { replicated, settle };
}
