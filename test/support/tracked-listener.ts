/** Counts the calls of an `onChange`, and tells of the first. */
export class Listener {
  calls = 0;
  readonly onChange: () => void;
  /** Resolves with the first call. */
  readonly told: Promise<void>;

  constructor() {
    let tell: () => void = () => undefined;
    this.told = new Promise((resolve) => {
      tell = resolve;
    });
    this.onChange = () => {
      this.calls++;
      tell();
    };
  }
}
