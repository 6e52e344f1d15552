import type { NodeCommand, StandaloneTarget } from './connection.js';

/** Knows which server has the keys: always the same one, or the master that sentinels tell of. */
export interface MasterLocator {
  /** Where to connect now; throws where that is not known. */
  locate(): Promise<StandaloneTarget>;
  /** Throws where the server that was connected to is not to be used: it is no master. */
  admit(server: NodeCommand): Promise<void>;
  /** A server said that it is no master (any more). */
  distrust(): void;
  /** Calls nobody back any more. */
  close(): void;
}

export interface LocatorEvents {
  /** Another server is the master now: whatever is connected elsewhere is to be left at once. */
  readonly onSwitch: (master: StandaloneTarget) => void;
}
