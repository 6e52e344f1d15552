import { ClientClosedError, ClientOfflineError } from 'redis';
import { reconnectDelayMs } from './client-options.js';
import { describeTarget, type ServerClient, type ServerTarget, type StandaloneTarget } from './connection.js';
import { locatorOf } from './locator-of.js';
import type { MasterLocator } from './master-locator.js';
import type { Logger } from 'pino';

export interface ServerLinkEvents {
  /** Makes the client of one connection. */
  readonly createClient: (place: StandaloneTarget) => ServerClient;
  /** The connection is there, for the first time or again. */
  readonly onConnected: (client: ServerClient, address: string) => void;
  /** It was lost, or could not be made for the so-manyth time in a row, from 0. */
  readonly onLost: (error: unknown, address: string, failedAttempts: number) => void;
  /** An error that leaves the connection up. */
  readonly onError: (error: unknown, address: string) => void;
}

/** Who is not the master any more is left for this reason. */
class MasterSwitchedError extends Error {
  override readonly name = 'MasterSwitchedError';
}

/**
 * The connection to a server, made again after each loss until it is closed: with a new client each time, to where the
 * master is by then. Nothing is sent twice: what is in flight when a connection is lost fails.
 */
export class ServerLink {
  private readonly locator: MasterLocator;
  private current: ServerClient | undefined;
  /** The client that is up or on its way. */
  private latest: ServerClient | undefined;
  private address: string;
  /** Another one after each loss. */
  private turn = 0;
  private failedAttempts = 0;
  private retryTimer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(
    target: ServerTarget,
    private readonly events: ServerLinkEvents,
    logger: Logger,
  ) {
    this.address = describeTarget(target);
    this.locator = locatorOf(target, logger, {
      onSwitch: (master) => {
        if (this.latest === undefined) this.hurry();
        else if (describeTarget(master) !== this.address) this.switchTo(master);
      },
    });
  }

  /** The client that is connected; undefined: none is. */
  get client(): ServerClient | undefined {
    return this.current;
  }

  /** Begins to connect. */
  open(): void {
    void this.attempt();
  }

  /** Gives the connection up for another one. */
  renew(error: unknown): void {
    if (!this.closed) this.lose(error);
  }

  /** The server said that it is no master: the next one is asked first. */
  distrust(error: unknown): void {
    this.locator.distrust();
    if (this.current !== undefined) this.renew(error);
  }

  /** Connects no more; what is connected stays so until `destroy`. */
  stop(): void {
    this.closed = true;
    clearTimeout(this.retryTimer);
    this.locator.close();
  }

  destroy(): void {
    this.stop();
    this.drop();
  }

  private async attempt(): Promise<void> {
    const { turn } = this;
    const isOver = (): boolean => turn !== this.turn || this.closed;
    try {
      const place = await this.locator.locate();
      if (isOver()) return;
      this.address = describeTarget(place);
      const client = this.createClient(place);
      this.latest = client;
      await client.connect();
      if (isOver()) return;
      await this.locator.admit((command) => client.sendCommand(command));
      if (isOver()) return;
      // the connection may have been lost while it was asked
      if (!client.isReady) throw new ClientOfflineError();
      this.current = client;
      this.failedAttempts = 0;
      this.events.onConnected(client, this.address);
    } catch (error) {
      if (!isOver()) this.lose(error);
    }
  }

  private createClient(place: StandaloneTarget): ServerClient {
    const client = this.events.createClient(place);
    client.on('error', (error: unknown) => {
      // of one that is on its way `attempt` hears
      if (client !== this.current) return;
      if (client.isReady) this.events.onError(error, this.address);
      else this.lose(error);
    });
    return client;
  }

  /** Does not wait for the next try any longer: there is something new to try. */
  private hurry(): void {
    if (this.retryTimer === undefined || this.closed) return;
    this.failedAttempts = 0;
    this.retryLater(0);
  }

  private switchTo(master: StandaloneTarget): void {
    this.failedAttempts = 0;
    this.lose(new MasterSwitchedError(`the master is ${describeTarget(master)} now`));
  }

  private lose(error: unknown): void {
    this.drop();
    const failedAttempts = this.failedAttempts++;
    this.events.onLost(error, this.address, failedAttempts);
    if (!this.closed) this.retryLater(failedAttempts);
  }

  private retryLater(failedAttempts: number): void {
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => {
      this.retryTimer = undefined;
      void this.attempt();
    }, reconnectDelayMs(failedAttempts)).unref();
  }

  private drop(): void {
    this.turn++;
    const client = this.latest;
    this.latest = this.current = undefined;
    client?.destroy();
  }
}

/** What is answered while nothing is connected. */
export function offline(closed: boolean): Promise<never> {
  return Promise.reject(closed ? new ClientClosedError() : new ClientOfflineError());
}
