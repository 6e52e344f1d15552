/** Something that can serve or not. */
export interface Readiness {
  readonly isReady: boolean;
  /** Calls back on every change of `isReady`. */
  onStateChange(listener: (ready: boolean) => void): void;
}
