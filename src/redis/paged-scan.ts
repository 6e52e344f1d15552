import type { MasterNode } from './connection.js';
import { redisUnavailable } from './errors.js';
import { UnexpectedReplyError } from './lua-script.js';
import { readInfo } from './node-report.js';
import { readPage } from './scan.js';

/** How far somebody is who goes through the masters; may be handed to another process. */
export interface ScanPlace {
  /** The runs of the masters that are done: 16 hex digits each. */
  readonly done: readonly string[];
  /** The run of the master that is gone through; '': none yet. */
  readonly run: string;
  /** Where in that one: up to 64 bits, decimal. */
  readonly cursor: string;
}

export const SCAN_BEGIN: ScanPlace = { done: [], run: '', cursor: '0' };

export interface ScanStep {
  readonly keys: readonly Buffer[];
  /** Where these were found: from here on they are found again. */
  readonly at: ScanPlace;
  /** Undefined: that was all. */
  readonly next: ScanPlace | undefined;
}

const RUN_DIGITS = 16;

/**
 * Goes through the keys of every master that match, in steps that may be of different processes; so a master is known by
 * its run, which is another one when it restarts or a replica takes over. Such a one is gone through anew, because a
 * cursor means nothing there.
 *
 * A key that is there from the first step to the last, and stays on its master, is found at least once.
 */
export class PagedScan {
  /** By address and connection. */
  private readonly runs = new Map<string, string>();

  constructor(
    private readonly masters: () => readonly MasterNode[],
    private readonly match: string,
    /** Makes a domain error of what a command threw. */
    private readonly toError: (error: unknown) => unknown,
  ) {}

  /** `count`: how many keys of Redis to look at, about. */
  async step(place: ScanPlace, count: number): Promise<ScanStep> {
    try {
      return await this.tryStep(place, count);
    } catch (error) {
      throw this.toError(error);
    }
  }

  private async tryStep(place: ScanPlace, count: number): Promise<ScanStep> {
    const known = await Promise.all(this.masters().map(async (master) => ({ master, run: await this.runOf(master) })));
    if (known.length === 0) throw redisUnavailable('no master is known');
    const isLeft = ({ run }: { readonly run: string }): boolean => !place.done.includes(run);
    const current = known.find(({ run }) => run === place.run) ?? known.find(isLeft);
    if (current === undefined) return { keys: [], at: place, next: undefined };
    const { master, run } = current;
    // those that are gone need not be remembered
    const done = place.done.filter((other) => known.some((one) => one.run === other));
    const at: ScanPlace = { done, run, cursor: run === place.run ? place.cursor : '0' };
    const page = readPage(await master.send(['SCAN', at.cursor, 'MATCH', this.match, 'COUNT', String(count)]));
    // it may be another run that answered
    if (!this.masters().some((other) => placeName(other) === placeName(master))) return { keys: [], at, next: at };
    if (page.cursor !== '0') return { keys: page.keys, at, next: { ...at, cursor: page.cursor } };
    const next: ScanPlace = { done: [...done, run], run: '', cursor: '0' };
    return { keys: page.keys, at, next: known.every((one) => next.done.includes(one.run)) ? undefined : next };
  }

  private async runOf(master: MasterNode): Promise<string> {
    const name = placeName(master);
    const known = this.runs.get(name);
    if (known !== undefined) return known;
    const run = (await readInfo(master.send, 'server')).get('run_id')?.slice(0, RUN_DIGITS) ?? '';
    if (!/^[0-9a-f]{16}$/.test(run)) throw new UnexpectedReplyError('INFO has no run_id');
    this.runs.set(name, run);
    return run;
  }
}

/** Names a master as this process is connected to it: a new connection may be one to another run. */
function placeName({ address, connectedTimes }: MasterNode): string {
  return `${address} ${String(connectedTimes)}`;
}
