import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import type { MetricDefinition } from '../../admin/metrics.js';

/** What a master was asked for a vote came to; `late`: it had not answered when the time was over. */
const ANSWERS = ['granted', 'again', 'held', 'clock_skew', 'amnesia', 'failed', 'late'] as const;
export type Answer = (typeof ANSWERS)[number];

/** What a round came to; `raised`: granted after a second step. */
const OUTCOMES = ['granted', 'raised', 'refused', 'undecided'] as const;
export type RoundOutcomeName = (typeof OUTCOMES)[number];

/** The alarm of one master is logged so often at most. */
const ALARM_QUIET_MS = 10_000;

/** What this process counts of its quorum, and its alarms. */
export class QuorumCounts {
  private readonly answers = new Map<string, Map<Answer, number>>();
  private readonly outcomes = new Map<RoundOutcomeName, number>(OUTCOMES.map((outcome) => [outcome, 0]));
  private readonly quietUntil = new Map<string, number>();

  constructor(
    masters: readonly { readonly address: string }[],
    private readonly logger: Logger,
  ) {
    for (const { address } of masters) {
      this.answers.set(address, new Map(ANSWERS.map((answer) => [answer, 0])));
    }
  }

  answered(address: string, answer: Answer): void {
    const ofMaster = this.answers.get(address);
    ofMaster?.set(answer, (ofMaster.get(answer) ?? 0) + 1);
  }

  ended(outcome: RoundOutcomeName): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  /** A clock is off: the master's, or this machine's where all masters say so. */
  alarm(address: string, aheadMs: number): void {
    const now = performance.now();
    if (now < (this.quietUntil.get(address) ?? 0)) return;
    this.quietUntil.set(address, now + ALARM_QUIET_MS);
    this.logger.error(
      { address, aheadMs },
      'clock skew: a master of the quorum does not vote because its clock and this machine differ too much',
    );
  }

  metrics(): readonly MetricDefinition[] {
    return [
      {
        name: 'shardkeep_lock_quorum_answers_total',
        type: 'counter',
        help: 'What masters of the quorum answered when asked for their vote.',
        values: () =>
          [...this.answers].flatMap(([master, ofMaster]) =>
            [...ofMaster].map(([answer, value]) => ({ labels: { master, answer }, value })),
          ),
      },
      {
        name: 'shardkeep_lock_quorum_rounds_total',
        type: 'counter',
        help: 'What came of asking all masters of the quorum for a lock.',
        values: () => [...this.outcomes].map(([outcome, value]) => ({ labels: { outcome }, value })),
      },
    ];
  }
}
