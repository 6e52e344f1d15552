/** What must hold however the processes interleave. */
export interface Check {
  readonly name: string;
  readonly problems: readonly string[];
  /** How much was looked at, so that a check that saw nothing can be told from one that found nothing. */
  readonly seen: string;
}
