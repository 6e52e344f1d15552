import type { PendingCall } from './pending-call.js';

const INITIAL_SLOTS = 1_024;
const MAX_ID = 0xffffffff;

/**
 * The calls on one stream by their ids. An array where a call's place is the low bits of its id, because the ids are
 * given here: a Map costs a tenth of the whole call.
 */
export class CallsInFlight {
  private slots = new Array<PendingCall | undefined>(INITIAL_SLOTS).fill(undefined);
  private count = 0;
  private lastId = 0;

  get size(): number {
    return this.count;
  }

  /** Gives the call an id, and finds it by that id from now on. */
  add(call: PendingCall): void {
    if (this.count * 2 >= this.slots.length) this.grow();
    const mask = this.slots.length - 1;
    let id = this.lastId;
    do id = nextId(id);
    while (this.slots[id & mask] !== undefined);
    this.lastId = id;
    call.id = id;
    this.slots[id & mask] = call;
    this.count++;
  }

  has(call: PendingCall): boolean {
    return this.slots[call.id & (this.slots.length - 1)] === call;
  }

  /** Takes the call of an id out; undefined where there is none. */
  take(id: number): PendingCall | undefined {
    const slot = id & (this.slots.length - 1);
    const call = this.slots[slot];
    if (call?.id !== id) return undefined;
    this.slots[slot] = undefined;
    this.count--;
    return call;
  }

  /** Takes out the call of this id and all that were added after it, oldest first. */
  takeFrom(firstId: number): PendingCall[] {
    const calls: PendingCall[] = [];
    for (let id = firstId; ; id = nextId(id)) {
      const call = this.take(id);
      if (call !== undefined) calls.push(call);
      if (id === this.lastId) return calls;
    }
  }

  takeAll(): PendingCall[] {
    const calls = this.slots.filter((call) => call !== undefined);
    this.slots.fill(undefined);
    this.count = 0;
    return calls;
  }

  private grow(): void {
    const calls = this.slots.filter((call) => call !== undefined);
    // ids that differ in fewer bits differ in more bits too
    this.slots = new Array<PendingCall | undefined>(this.slots.length * 2).fill(undefined);
    for (const call of calls) this.slots[call.id & (this.slots.length - 1)] = call;
  }
}

function nextId(id: number): number {
  return id === MAX_ID ? 1 : id + 1;
}
