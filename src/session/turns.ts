/**
 * Lets the jobs of this process on one thing go one after the other, so that they are not in each other's way: of n that
 * compare and set at once only one succeeds, and n² are tried.
 */
export class Turns {
  private readonly last = new Map<string, Promise<unknown>>();

  /** Does the job when those before it are done, however they ended. */
  async take<Result>(thing: string, job: () => Promise<Result>): Promise<Result> {
    const before = this.last.get(thing);
    const mine = before === undefined ? job() : before.then(job, job);
    this.last.set(thing, mine);
    try {
      return await mine;
    } finally {
      if (this.last.get(thing) === mine) this.last.delete(thing);
    }
  }
}
