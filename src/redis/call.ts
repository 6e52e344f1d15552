/** Where it is written down what was done for a call. */
export interface CallTrace {
  /** Runs `work`, which asks Redis by this command; `script` is the name of what the command runs. */
  operation<Result>(command: string, script: string | undefined, work: () => Promise<Result>): Promise<Result>;
}

/** What a store needs to know of the RPC it works for. */
export interface Call {
  /** The caller's tenant; part of every key. */
  readonly namespace: string;
  /** `package.Service/Method`; undefined for what no RPC asked for. */
  readonly rpc?: string | undefined;
  /** Undefined where nobody wants to know. */
  readonly trace?: CallTrace | undefined;
  /** When the caller stops waiting, on the clock of `performance.now()`. */
  readonly deadlineAt: number;
  /**
   * True once the caller has an answer, gave up or ran out of time. A store that was granted something after that gives
   * it back: nobody will.
   */
  readonly ended: boolean;
}

/** A call that may wait for something other than Redis's answer. */
export interface ParkableCall extends Call {
  /** Begins to wait: the call counts no longer as being worked for. Answers false where too many calls wait. */
  park(): boolean;
  unpark(): void;
  /** Calls back when the call ends, also when it has ended already. */
  whenEnded(listener: () => void): void;
}
