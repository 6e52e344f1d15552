import type { History } from '../history.js';

/** Which acknowledged writes the row says may be gone, and which of them were. */
export class DeclaredLoss {
  /** How long before a fault the oldest write that was lost had been acknowledged; undefined: none was. */
  oldestMs: number | undefined;
  private readonly mayLose: History['row']['expect']['mayLose'];
  private readonly mayLoseForMs: number;
  private readonly begins: readonly number[];

  constructor(history: History) {
    this.mayLose = history.row.expect.mayLose;
    this.mayLoseForMs = history.row.expect.mayLoseForMs;
    this.begins = history
      .of('fault')
      .filter(({ phase }) => phase === 'begin')
      .map(({ atMs }) => atMs);
  }

  get isNone(): boolean {
    return this.mayLose === 'nothing';
  }

  /** Notes that a write which was acknowledged then is gone; answers whether it may. */
  isAllowed(acknowledgedMs: number, goneMs: number): boolean {
    const ageMs = this.ageOf(acknowledgedMs, goneMs);
    if (ageMs === undefined) return false;
    this.oldestMs = Math.max(this.oldestMs ?? 0, ageMs);
    if (this.mayLose === 'nothing') return false;
    return this.mayLose === 'anything' || ageMs <= this.mayLose;
  }

  /** Whether two moments have a fault between them that may have lost what was acknowledged at the first. */
  isBetween(firstMs: number, secondMs: number): boolean {
    if (this.mayLose === 'nothing') return false;
    const ageMs = this.ageOf(firstMs, secondMs);
    return ageMs !== undefined && (this.mayLose === 'anything' || ageMs <= this.mayLose);
  }

  /** How many of these acknowledged writes may be gone. */
  countLosable(acknowledgedMs: readonly number[]): number {
    return acknowledgedMs.filter((ms) => this.isBetween(ms, Number.POSITIVE_INFINITY)).length;
  }

  /** How long before the next fault; 0 for what was acknowledged while it began. */
  private ageOf(acknowledgedMs: number, goneMs: number): number | undefined {
    const ages = this.begins
      .filter((beganMs) => beganMs < goneMs && beganMs > acknowledgedMs - this.mayLoseForMs)
      .map((beganMs) => Math.max(0, beganMs - acknowledgedMs));
    return ages.length === 0 ? undefined : Math.min(...ages);
  }
}
