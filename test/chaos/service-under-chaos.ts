import { readFileSync } from 'node:fs';
import type { Environment } from '../support/namespace.js';
import { freePort } from '../support/redis-server.js';
import {
  startServiceProcess,
  type Exit,
  type ServiceProcess,
  type ServiceProcessOptions,
} from '../support/service-process.js';

const START_ATTEMPTS = 3;

/** How its process is started. */
export interface ServiceOptions extends Pick<ServiceProcessOptions, 'nodeArgs' | 'main' | 'under'> {
  /** A unix socket to serve, in the place of a port. */
  readonly socket?: string;
  /** Where health is besides. */
  readonly healthPort?: number;
}

/** A process of the service that can be killed and started again at the same address. */
export class ServiceUnderChaos {
  private process: ServiceProcess | undefined;

  private constructor(
    readonly number: number,
    readonly port: number,
    private readonly env: Environment,
    private readonly options: ServiceOptions,
  ) {}

  static async start(number: number, env: Environment, options: ServiceOptions = {}): Promise<ServiceUnderChaos> {
    for (let attempt = 1; ; attempt++) {
      const service = new ServiceUnderChaos(number, await freePort(), env, options);
      try {
        await service.startAgain();
        return service;
      } catch (error) {
        // another program may have taken the port meanwhile
        if (attempt === START_ATTEMPTS || !String(error).includes('EADDRINUSE')) throw error;
      }
    }
  }

  get address(): string {
    const { socket } = this.options;
    return socket === undefined ? `127.0.0.1:${String(this.port)}` : `unix:${socket}`;
  }

  /** Where an orchestrator asks for its health. */
  get healthAddress(): string {
    const { healthPort } = this.options;
    return healthPort === undefined ? this.address : `127.0.0.1:${String(healthPort)}`;
  }

  get running(): ServiceProcess {
    if (this.process?.running !== true) throw new Error(`service ${String(this.number)} does not run`);
    return this.process;
  }

  /** Resolves when it serves: every Redis has answered. */
  async startAgain(until: 'ready' | 'listening' = 'ready', env: Environment = {}): Promise<void> {
    const { healthPort } = this.options;
    const health = healthPort === undefined ? {} : { HEALTH_LISTEN: this.healthAddress };
    const settings = { LOG_LEVEL: 'info', ...this.env, ...env, ...health, GRPC_LISTEN: this.address };
    this.process = await startServiceProcess(settings, { ...this.options, until });
  }

  signal(signal: NodeJS.Signals): void {
    this.process?.signal(signal);
  }

  async stop(signal: NodeJS.Signals): Promise<Exit | undefined> {
    return this.process?.stop(signal);
  }

  /** Resident memory now; undefined while it does not run. */
  get rssMb(): number | undefined {
    const pages = /^VmRSS:\s+(\d+) kB/m.exec(this.read('status') ?? '')?.[1];
    return pages === undefined ? undefined : Math.round(Number(pages) / 1024);
  }

  /** For how long it has wanted a processor and had none, of its main thread. */
  get waitedMs(): number | undefined {
    const waitedNs = this.read('schedstat')?.split(' ')[1];
    return waitedNs === undefined ? undefined : Number(waitedNs) / 1e6;
  }

  private read(file: string): string | undefined {
    if (this.process?.running !== true) return undefined;
    try {
      return readFileSync(`/proc/${String(this.process.pid)}/${file}`, 'utf8');
    } catch {
      return undefined;
    }
  }
}
