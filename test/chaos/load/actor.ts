import { setTimeout as sleep } from 'node:timers/promises';
import type { SeededRandom } from '../../support/seeded-random.js';
import type { Caller, RecordedAnswer, RecordedCall, Recorder } from './recorder.js';

export interface Role {
  readonly name: string;
  readonly random: SeededRandom;
  readonly callers: readonly Caller[];
  readonly recorder: Recorder;
  /** Between two steps, on average. */
  readonly restMs: number;
}

/** One player or game server: does one thing after another until it is told to stop. */
export abstract class Actor {
  protected readonly name: string;
  protected readonly random: SeededRandom;
  protected readonly recorder: Recorder;
  private stopped = false;

  constructor(private readonly role: Role) {
    this.name = role.name;
    this.random = role.random;
    this.recorder = role.recorder;
  }

  async run(): Promise<void> {
    const { restMs } = this.role;
    // or all of them would begin in one tick
    await sleep(this.random.below(restMs));
    while (!this.stopped) {
      await this.step();
      await sleep(this.random.between(Math.ceil(restMs / 2), Math.ceil(restMs * 1.5)));
    }
  }

  stop(): void {
    this.stopped = true;
  }

  /** Reads what must be there at the end. Nobody writes any more. */
  verify(): Promise<void> {
    return Promise.resolve();
  }

  protected abstract step(): Promise<void>;

  /** Any of the services: what one has written the others see. */
  protected caller(): Caller {
    return this.random.pick(this.role.callers);
  }

  protected call<Answer>(op: string, call: RecordedCall<Answer>): Promise<RecordedAnswer<Answer>> {
    return this.recorder.call(this.caller(), op, call);
  }

  /** A read at the end, tried until it is answered. */
  protected async verified<Answer>(op: string, call: RecordedCall<Answer>): Promise<void> {
    for (let attempt = 0; attempt < VERIFY_ATTEMPTS; attempt++) {
      const { record } = await this.call(op, call);
      if (record.code === 'OK') return;
      await sleep(VERIFY_REST_MS);
    }
  }
}

const VERIFY_ATTEMPTS = 20;
const VERIFY_REST_MS = 100;
