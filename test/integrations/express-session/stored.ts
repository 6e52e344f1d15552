import { promisify } from 'node:util';
import type { SessionData, Store } from 'express-session';

/** One sid of a store, with promises in the place of callbacks. */
export interface StoredSession {
  get(): Promise<SessionData | null | undefined>;
  set(session: SessionData): Promise<void>;
  touch(session: SessionData): Promise<void>;
  destroy(): Promise<void>;
  /** Of the whole store. */
  length(): Promise<number | undefined>;
  clear(): Promise<void>;
}

/** As express-session takes it: null and undefined are no error. */
type Callback<Value> = (error?: Error | null, value?: Value) => void;

export function stored(store: Store, sid: string): StoredSession {
  return {
    get: promisify((callback: Callback<SessionData | null>) => {
      store.get(sid, callback);
    }),
    set: (session) =>
      promisify((callback: Callback<never>) => {
        store.set(sid, session, callback);
      })(),
    touch: (session) =>
      promisify((callback: Callback<never>) => {
        store.touch?.(sid, session, callback);
      })(),
    destroy: promisify((callback: Callback<never>) => {
      store.destroy(sid, callback);
    }),
    length: promisify((callback: Callback<number>) => {
      store.length?.(callback);
    }),
    clear: promisify((callback: Callback<never>) => {
      store.clear?.(callback);
    }),
  };
}
